"""Adapt a pretrained backbone to labelled images: choose a head, fine-tune, and keep what is better on new classes."""
