"""Networks that fit their data and disobey the neural feature ansatz: known families, and a search for more."""
