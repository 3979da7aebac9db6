"""The conformance kit: cases, comparisons and contracts that our tests and anyone's extensions share."""
