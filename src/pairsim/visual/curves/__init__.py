"""Curves: ROC, DET, identification, reliability, score histograms, training."""
