"""What events announce besides orders: targets, opening balances, control totals and campaigns, each from a date on.

targets.py, balances.py, controls.py, announcements.py (campaigns); dated_changes.py (which of them is in force), disposition.py
"""
