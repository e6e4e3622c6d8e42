"""Objectives: losses and how they are computed."""
