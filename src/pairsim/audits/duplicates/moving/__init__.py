"""Move duplicates to another folder or link them, with a journal that undoes it."""
