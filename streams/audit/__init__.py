"""Counting again by other means: recounts from the source topics that share no code with the counting itself."""
