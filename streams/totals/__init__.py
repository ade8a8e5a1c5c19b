"""Day counts of all partitions become windows, milestones and forecasts."""
