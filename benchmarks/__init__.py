"""Benchmarks of pairsim: arms side by side in one process, their runs interleaved, with median, spread and ratio."""
