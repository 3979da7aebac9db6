"""Low-rank bias of weight decay, and merging two networks by the sum of their weights."""
