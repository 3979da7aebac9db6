"""Drawing: figures for the page and for a paper, and the kinds of figures that a table of runs can feed."""
