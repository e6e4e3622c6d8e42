"""Metrics at one threshold, and how to choose it."""
