"""The HTTP service of `pairsim serve`. Needs the extra `serve`."""
