"""What is minimised: pure functions of rows, targets and settings."""
