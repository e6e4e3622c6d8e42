"""The command `pairsim`."""

from pairsim.cli.start import main as main

__all__ = ["main"]
