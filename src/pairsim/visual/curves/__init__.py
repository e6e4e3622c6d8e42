"""Curves: ROC, DET, reliability, score histograms, training."""
