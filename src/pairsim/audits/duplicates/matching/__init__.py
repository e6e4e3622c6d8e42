"""Find pictures that are copies: features propose pairs, and registration confirms them."""
