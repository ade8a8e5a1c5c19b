"""One partition of orders: from a batch of records to what one transaction commits."""
