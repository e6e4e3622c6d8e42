"""Checkpoints and run folders."""
