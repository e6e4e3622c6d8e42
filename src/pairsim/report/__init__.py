"""Reports of a run as one HTML page: metrics, an adjustable threshold, worst errors, how to reproduce."""

from pairsim.report.page import write_report as write_report

__all__ = ["write_report"]
