"""FACT: what the weights of a network are where the penalised loss is stationary."""
