"""The ansatz as first stated, of trained fully connected networks, beside its start and its nulls."""
