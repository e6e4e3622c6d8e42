"""Commands around a run: export, doctor, completion."""
