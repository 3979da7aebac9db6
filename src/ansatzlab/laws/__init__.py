"""Published laws: their claims, the runs that test them, and how a table of runs judges them."""
