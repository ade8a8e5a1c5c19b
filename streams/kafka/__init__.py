"""Clients, transactions, transport: everything that talks to Kafka."""
