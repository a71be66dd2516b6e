"""Network output to answers: pure functions on scores and spans."""
