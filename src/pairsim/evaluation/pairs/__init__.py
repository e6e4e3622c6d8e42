"""Scores of pairs, and how their metrics become functions and methods."""
