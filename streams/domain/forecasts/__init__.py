"""When a target will be met.

forecast.py, pace.py, day_effects.py, level_shift.py, forecast_range.py; backtest.py
"""
