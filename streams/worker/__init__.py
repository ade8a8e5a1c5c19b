"""What one worker process runs: agents, the engine that follows assignments, the runner of each state."""
