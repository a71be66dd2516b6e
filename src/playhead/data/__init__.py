"""Annotation files and generated samples, read by index."""
