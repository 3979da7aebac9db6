"""What a layer looks at, as the page of a measurement shows it: pictures, tokens and bars."""
