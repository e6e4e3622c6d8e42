"""Confidence intervals and cross-validation."""
