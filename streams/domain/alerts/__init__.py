"""What is news before a period is over: targets at risk, and silence.

alerts.py, early_warnings.py, silences.py
"""
