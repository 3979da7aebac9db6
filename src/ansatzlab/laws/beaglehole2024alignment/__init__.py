"""The centred correlation: what gradient descent adds to the weights, against the AGOP formed with it."""
