"""The networks: one file per model."""
