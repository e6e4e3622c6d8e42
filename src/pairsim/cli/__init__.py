"""The command `pairsim`."""

from pairsim.cli.app import main as main

__all__ = ["main"]
