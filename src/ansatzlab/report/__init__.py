"""What a person reads: HTML pages, figures, comparisons and the terminal's tables."""
