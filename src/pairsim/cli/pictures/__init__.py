"""Commands that apply a run to pictures: compare, search, duplicates, encode, app."""
