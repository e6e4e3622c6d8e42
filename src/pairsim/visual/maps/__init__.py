"""Class similarity matrix and embedding map."""
