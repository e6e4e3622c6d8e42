"""Reports as one HTML page: of a run, with an adjustable threshold and the worst errors, and of a gallery."""

from pairsim.report.identification_page import write_identification_report as write_identification_report
from pairsim.report.page import write_report as write_report

__all__ = ["write_identification_report", "write_report"]
