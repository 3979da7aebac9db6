"""Plain networks to measure and train, and the ways to initialise them."""
