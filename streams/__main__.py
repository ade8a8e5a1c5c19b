"""`python -m streams` is the `milestones` command."""

from streams.cli import main

main()
