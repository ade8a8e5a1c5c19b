"""The milestones service: a pure domain inside a thin Kafka shell."""
