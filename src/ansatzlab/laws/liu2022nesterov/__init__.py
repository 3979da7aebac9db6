"""Nesterov's descent on deep linear networks: its rate against the condition number of the Jacobian's Gram matrix."""
