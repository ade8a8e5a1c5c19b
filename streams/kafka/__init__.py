"""Clients, transactions, transport: everything that speaks to Kafka."""
