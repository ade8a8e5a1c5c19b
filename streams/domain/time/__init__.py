"""Local time: business days, the calendar's periods, holidays and campaigns.

zone.py (local days and hours), calendar.py (which periods there are), periods.py (their ids and dates), daytypes.py, campaigns.py
"""
