"""Nonlinear networks that fit their data and disobey the law."""
