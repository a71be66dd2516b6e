"""`playhead serve`: pages and a JSON API over one index, for a browser on this machine."""
