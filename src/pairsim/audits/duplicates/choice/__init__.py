"""Choose which copy to keep, and name how the others were changed."""
