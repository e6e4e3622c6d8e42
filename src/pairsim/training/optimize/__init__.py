"""One training step: forward, backward, optimizer, batch norm, CUDA graph."""
