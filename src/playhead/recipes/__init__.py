"""The papers' runs, as functions that return a frozen Recipe, and run(), where everything meets."""
