"""The noise floor: where the balance of stochastic descent with decay ends."""
