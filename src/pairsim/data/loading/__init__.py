"""Batches of images on the training device: workers, resident images, pinned buffers, caches."""
