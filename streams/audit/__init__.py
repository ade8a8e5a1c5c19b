"""Independent recounts from the source topics, which share no counting code with the service."""
