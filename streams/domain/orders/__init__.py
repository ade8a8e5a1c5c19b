"""The events of an order: how they are stored, and what they count as.

orders.py judges an order; packing.py, steps.py (storing and counting in Python), sums.py (of a step),
counted_days.py, packed_columns.py, delivered_vehicles.py
"""
