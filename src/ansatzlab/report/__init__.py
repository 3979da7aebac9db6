"""What a person reads: figures, the terminal's table and the HTML page of a law's verdict."""
