"""Grokking modular arithmetic: what the published correlations with the AGOP are worth."""
