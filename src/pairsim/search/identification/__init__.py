"""Who an image shows: templates, decisions, and the threshold of a gallery."""
