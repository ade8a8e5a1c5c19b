"""The long commands.

dead letters  dead_letters.py, replay.py, repairs.py
one record    quarantine.py, gaps.py, record_status.py, corrections.py
recounts      rebuild.py, rebuild_diff.py, move.py, reconcile.py
loads         rehearsal.py, load_progress.py
"""
