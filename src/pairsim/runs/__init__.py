"""Read the records of a run folder, and the data that a run was trained and evaluated on."""

from pairsim.runs.run_records import Evaluation, RunRecords, load_evaluation, read_run, save_evaluation

__all__ = [
    "Evaluation",
    "RunRecords",
    "load_evaluation",
    "read_run",
    "save_evaluation",
]
