"""What to learn and what to measure: one file per task."""
