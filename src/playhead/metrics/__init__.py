"""How good answers are: pure functions of arrays, each naming its convention."""
