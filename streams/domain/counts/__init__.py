"""What a ledger partition counts per day, hour and minute, and which of its units was the N-th.

daycounts.py, packed_days.py, source_hours.py, restored_units.py; nth.py, asked_units.py, counted_units.py
"""
