"""Kinds of figures: each a pure function from a table of runs to something that can be drawn."""
