"""Probabilities of "same class": metrics, fits from scores, and priors."""
