"""The recall for each kind of change, and the rate of false pairs."""
