"""What a worker process runs: the agents, the engine that follows assignments, one task runner per state, and standby copies."""
