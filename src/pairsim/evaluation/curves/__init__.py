"""Metrics over all thresholds: error curves, the areas under them, and the distance of the two kinds of scores."""
