"""The whole shell on a simulated cluster, group and clock: thousands of schedules, each determined by its seed."""
