"""Turns the day counts of all partitions into windows, milestones and forecasts.

a step       window_tables.py leads through it: shards.py holds counts back until their marker, milestone_records.py encodes
built by     factory.py
side topics  side_topics.py, passed_on_sides.py (to other totals partitions), announcing.py (campaigns)
published    history.py, forecasts.py, silences.py, moments.py (which unit it was), source_times.py
opening      snapshots.py
warnings     limit_warnings.py
"""
