"""Real and synthetic data sets, loaded by name; nothing is downloaded."""
