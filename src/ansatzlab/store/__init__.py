"""Finished runs on disk: a run is readable as a whole or not there at all."""
