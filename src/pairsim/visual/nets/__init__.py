"""Drawings of the network architecture and of the similarity model."""
