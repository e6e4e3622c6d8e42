"""Read the records of a run folder, and the data that a run was trained and evaluated on."""

from pairsim.runs.run_records import Evaluation as Evaluation
from pairsim.runs.run_records import RunRecords as RunRecords
from pairsim.runs.run_records import load_evaluation as load_evaluation
from pairsim.runs.run_records import read_run as read_run
from pairsim.runs.run_records import save_evaluation as save_evaluation

__all__ = [
    "Evaluation",
    "RunRecords",
    "load_evaluation",
    "read_run",
    "save_evaluation",
]
