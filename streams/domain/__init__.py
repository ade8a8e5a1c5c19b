"""Pure rules: values in, values out; no I/O, no async, no clock, no Kafka.

time         zone.py, calendar.py, periods.py, daytypes.py, campaigns.py, announcements.py
ledger       ledger.py; orders.py judges an order; packing.py, steps.py, hotpath.py (which chooses between it and the compiled
             _steps.pyx), packed_columns.py, restored_units.py, delivered_vehicles.py
counts       daycounts.py, counted_days.py, scopes.py, aliases.py, value_bounds.py, source_hours.py; counted_units.py,
             asked_units.py (which unit was the N-th)
steps        totals.py, step_parts.py; kept_days.py, overflow.py, totals_homes.py
rows         windows.py on top of row_table.py, counted_rows.py, published_rows.py, row_versions.py, leaving_rows.py, row_blocks.py
             and, compiled, _rows.pyx; window_row.py, known_periods.py, row_columns.py, packed_days.py
milestones   rules.py, milestone_judging.py, milestones.py, firsts.py, records.py, streaks.py, comparisons.py, among_scopes.py, delayed_retractions.py,
             nth.py
events       dated_changes.py, disposition.py, targets.py, balances.py, controls.py
forecasts    forecast.py, pace.py, day_effects.py, level_shift.py, forecast_range.py, backtest.py
alerts       alerts.py, early_warnings.py, silences.py
hints        limit_usage.py, likely_slips.py, suggestions.py
long work    pauses.py
"""
