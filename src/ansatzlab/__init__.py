"""ansatzlab: a PyTorch laboratory for the laws of feature learning."""

__version__ = "0.1.0"
