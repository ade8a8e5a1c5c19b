"""Turns the day counts of all partitions into windows, milestones and forecasts."""
