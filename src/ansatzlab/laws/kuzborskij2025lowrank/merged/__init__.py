"""The second chapter: what merging two networks by the sum of their weights loses."""
