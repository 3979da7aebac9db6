"""Speed and memory, as ratios between two ways of doing one thing in one run."""
