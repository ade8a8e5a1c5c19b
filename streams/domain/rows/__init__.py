"""The rows of windows: one per metric, scope and period.

windows.py on top of row_table.py, counted_rows.py, published_rows.py, row_versions.py, leaving_rows.py and row_blocks.py;
window_row.py, known_periods.py, row_columns.py, kept_days.py
"""
