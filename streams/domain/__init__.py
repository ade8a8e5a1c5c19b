"""Pure rules: values in, values out; no I/O, no async, no clock, no Kafka.

Imports point downwards; `.importlinter` has the layers.

the states     ledger.py (a ledger partition's), totals.py (that of the totals)
milestones/    which milestones the rows have reached
forecasts/     when a target will be met
alerts/        targets at risk, and silence
rows/          one per metric, scope and period
counts/        what a ledger partition counts, and which unit was the N-th
orders/        the events of an order: how they are stored, and what they count as
hotpath.py     chooses between what runs for every event, count or row in Python and the same compiled (_steps.pyx, _rows.pyx)
announced/     targets, opening balances, control totals and campaigns, as events announce them
rules.py       the rules of an installation
scopes/        what is counted together
time/          local time, periods and holidays
hints/         what somebody may have meant
pauses.py      long work in pieces
"""
