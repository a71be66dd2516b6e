"""The generated world: first-person videos with narrations, queries and labels, in the official file formats."""
