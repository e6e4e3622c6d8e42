"""Faster copies of a net for inference."""
