"""Nonlinear networks: the ansatz beside its nulls, layer by layer, over training."""
