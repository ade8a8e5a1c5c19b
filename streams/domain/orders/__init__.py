"""The events of an order: how they are stored, and what they count as.

orders.py judges an order; packing.py, steps.py (storing and counting in Python), packed_columns.py, counted_days.py,
delivered_vehicles.py
"""
