"""Official checkpoints in, bundles out."""
