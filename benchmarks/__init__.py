"""Ratios in one run, never asserted: `make bench`, or one of them with `make bench NAME=decoding`."""
