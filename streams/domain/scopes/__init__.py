"""What is counted together, and how much of it there may be.

scopes.py, aliases.py, totals_homes.py; value_bounds.py, overflow.py, limit_usage.py
"""
