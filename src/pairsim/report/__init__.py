"""A run and its data as one HTML page that can be sent: figures, a threshold to move, mistakes, how to reproduce."""

from pairsim.report.writing import write_report as write_report

__all__ = ["write_report"]
