"""Commands that evaluate a run: evaluate, calibrate, report, card."""
