"""Metrics of pairs: curves, decisions, probabilities."""
