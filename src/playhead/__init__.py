"""Playhead puts the cursor of a video at the moment you ask for."""

__version__ = "0.1.0"
