"""Independent recounts from the source topics, which share no counting code with the service.

verify      verifying.py; recount.py per ledger partition, comparing.py; production.py, moments.py, control_totals.py, alerts.py,
            silent_sources.py, forwarded.py; suspects.py finds the units behind a difference
the rules   judging.py (an order), sums.py (periods), scopes.py, targets.py, expected_milestones.py
read        sources.py, dead_letters.py, published.py, kept_events.py, kept_days.py
explain     explaining.py (a milestone), compared_periods.py, record_history.py; window_changes.py (a window), asof.py, first_closed.py
reconcile   reconciling.py, foreign_list.py, differences.py
correct     correcting.py (which event), consequences.py (what it would change)
results     report.py
"""
