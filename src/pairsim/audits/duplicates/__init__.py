"""Find pictures that are there more than once, and decide which file to keep."""
