"""The first chapter: what the weights are like at stationary points, and how they come there."""
