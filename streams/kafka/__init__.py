"""Clients, transactions, transport: everything that talks to Kafka.

reading     transport.py (for Faust), whole_batches.py, reading_order.py, long_poll.py, append_time.py, log_ends.py,
            coordinator.py (of the group)
the log     log.py, records.py, outbox.py, transactions.py, transaction_requests.py, pacing.py
clients     client_options.py (how to connect), clients.py, connection.py, metadata.py, topic_ids.py, digest.py
writing     publisher.py and publication.py (source topics), plain_writer.py, forwarding.py, dead_letter_headers.py
topics      admin.py
access      refusals.py, permissions.py, rights.py
"""
