"""Figures made of pictures: pairs, rankings, neighbours, suspects, saliency."""
