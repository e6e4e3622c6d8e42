"""Heads: the last layers of a net, which turn the features of a backbone into an embedding."""
