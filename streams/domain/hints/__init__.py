"""What somebody may have meant who wrote something else.

suggestions.py, likely_slips.py
"""
