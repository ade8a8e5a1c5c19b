"""What a worker process runs: the agents, the engine that follows assignments, and one task runner per state."""
