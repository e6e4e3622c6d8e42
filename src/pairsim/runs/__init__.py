"""Read the records of a run folder, and the data that a run was trained and evaluated on."""
