"""Figures of images, pairs and rankings, as matplotlib `Figure` objects; they need the extra `viz`.

Nothing here uses pyplot: no window opens and no figure is left open. Save a figure with `figure.savefig(path)`; a
notebook shows it as the last value of a cell once `%matplotlib inline` has run.
"""

from pairsim.visual.pairs import draw_pairs as draw_pairs
from pairsim.visual.pixels import to_pixels as to_pixels
from pairsim.visual.ranking import draw_ranking as draw_ranking
from pairsim.visual.suspects import draw_suspects as draw_suspects

__all__ = ["draw_pairs", "draw_ranking", "draw_suspects", "to_pixels"]
