"""The live section of a page: scores at whatever exponent its reader asks for, computed in the page."""
