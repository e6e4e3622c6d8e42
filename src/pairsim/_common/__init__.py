"""Shared helpers: atomic files, array checks, devices, number formats, Markdown."""
