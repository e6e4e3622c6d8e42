"""Layout, style and pixels shared by all figures."""
