"""Figures of images, pairs and rankings, as matplotlib `Figure` objects; they need the extra `viz`.

Nothing here uses pyplot: no window opens and no figure is left open. Save a figure with `figure.savefig(path)`; a
notebook shows it as the last value of a cell once `%matplotlib inline` has run.
"""

from pairsim.visual.class_matrix import class_similarity as class_similarity
from pairsim.visual.class_matrix import draw_class_similarity as draw_class_similarity
from pairsim.visual.embedding_map import draw_embedding_map as draw_embedding_map
from pairsim.visual.pairs import draw_pairs as draw_pairs
from pairsim.visual.pixels import to_pixels as to_pixels
from pairsim.visual.ranking import draw_ranking as draw_ranking
from pairsim.visual.rate_curves import draw_det as draw_det
from pairsim.visual.rate_curves import draw_roc as draw_roc
from pairsim.visual.reliability import draw_reliability as draw_reliability
from pairsim.visual.score_figures import draw_score_histogram as draw_score_histogram
from pairsim.visual.suspects import draw_suspects as draw_suspects
from pairsim.visual.training_figures import draw_training_curves as draw_training_curves

__all__ = [
    "class_similarity",
    "draw_class_similarity",
    "draw_det",
    "draw_embedding_map",
    "draw_pairs",
    "draw_ranking",
    "draw_reliability",
    "draw_roc",
    "draw_score_histogram",
    "draw_suspects",
    "draw_training_curves",
    "to_pixels",
]
