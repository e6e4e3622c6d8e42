"""Pairs of images: sampling them, reading and writing lists of them."""
