"""How every layer of a network stands to its average gradient outer product."""
