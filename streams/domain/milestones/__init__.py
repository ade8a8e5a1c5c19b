"""Which milestones the rows have reached, and which of them no longer stand.

step_parts.py, milestone_judging.py (the rules on the rows that changed), milestones.py (those that stand); firsts.py, records.py,
streaks.py, comparisons.py, among_scopes.py, delayed_retractions.py
"""
