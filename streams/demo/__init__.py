"""The demo: an embedded Kafka, a worker, the story of the SU7's 2024, and the service's results."""
