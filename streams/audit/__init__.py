"""Independent recounts from the source topics; they share no code with the service that counts."""
