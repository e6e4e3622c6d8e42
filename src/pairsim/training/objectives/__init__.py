"""Objectives: batches, losses and recipes."""
