"""One ledger partition: from a batch of records to what one transaction commits."""
