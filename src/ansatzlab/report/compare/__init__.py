"""Two measurements or two tables of runs held against each other: first what differs, then the numbers."""
