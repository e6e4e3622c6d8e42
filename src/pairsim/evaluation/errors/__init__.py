"""Errors by class, by pair of images and by label."""
