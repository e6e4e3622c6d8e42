"""The training step and its optimizer, batch norm, CUDA graph and memory."""
