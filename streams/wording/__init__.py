"""What people read of milestones and alerts, in each language."""
