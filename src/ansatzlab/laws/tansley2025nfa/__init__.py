"""The Neural Feature Ansatz for linear networks (Tansley, Massart, Cartis 2025)."""
