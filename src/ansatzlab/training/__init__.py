"""Training: gradient flow, gradient descent and torch optimisers, with snapshots on the way."""
