"""Pure functions on tensors: positive semi-definite spectra, similarities, exponents."""
