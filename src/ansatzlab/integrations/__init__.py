"""Callbacks for other people's training loops; each needs its own extra."""
