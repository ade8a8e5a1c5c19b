"""One ledger partition: from a batch of records to what one transaction commits.

a step      partition.py leads through it: step_bounds.py says how much is taken, intake.py sorts records, application.py applies them,
            commit.py lists what is written
state       memory.py, orders_file.py (orders on disk), sources.py (how far each is applied), vehicles.py (deliveries and
            production), questions.py (of the totals), parted_dict.py (what is held back)
changelog   changelog.py, vocabulary.py; replica.py reads it, restore.py continues from there, recovery.py rebuilds without it
trouble     poison_record.py, quarantine.py
status      partition_status.py
"""
