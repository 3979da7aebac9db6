"""Linear networks: gradient flows and descents from balanced and unbalanced starts."""
