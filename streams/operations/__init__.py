"""One module per long command."""
