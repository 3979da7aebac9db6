"""Sweeps: many runs, each described by a spec, executed and kept."""
