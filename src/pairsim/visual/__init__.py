"""Figures of images, pairs and rankings, as matplotlib `Figure` objects; they need the extra `viz`.

`pair_table` returns an HTML table instead, and needs the extra `table`.

Figures do not use pyplot: no window opens and no figure stays open. Save a figure with `figure.savefig(path)`; a
notebook shows it as the last value of a cell after `%matplotlib inline`.
"""

from pairsim.visual.curves.identification_curves import draw_cmc as draw_cmc
from pairsim.visual.curves.identification_curves import draw_fpir_fnir as draw_fpir_fnir
from pairsim.visual.curves.rate_curves import draw_det as draw_det
from pairsim.visual.curves.rate_curves import draw_roc as draw_roc
from pairsim.visual.curves.score_figures import draw_reliability as draw_reliability
from pairsim.visual.curves.score_figures import draw_score_histogram as draw_score_histogram
from pairsim.visual.curves.training_figures import draw_training_curves as draw_training_curves
from pairsim.visual.maps.class_matrix import class_similarity as class_similarity
from pairsim.visual.maps.class_matrix import draw_class_similarity as draw_class_similarity
from pairsim.visual.maps.embedding_map import draw_embedding_map as draw_embedding_map
from pairsim.visual.nets.architecture import draw_embedding_net as draw_embedding_net
from pairsim.visual.nets.model_diagram import draw_similarity_model as draw_similarity_model
from pairsim.visual.page.pixels import to_pixels as to_pixels
from pairsim.visual.pictures.neighbors import draw_neighbors as draw_neighbors
from pairsim.visual.pictures.pair_rows import draw_confusing_pairs as draw_confusing_pairs
from pairsim.visual.pictures.pair_rows import draw_pairs as draw_pairs
from pairsim.visual.pictures.pair_tables import pair_table as pair_table
from pairsim.visual.pictures.ranking import draw_class_ranking as draw_class_ranking
from pairsim.visual.pictures.ranking import draw_ranking as draw_ranking
from pairsim.visual.pictures.saliency_maps import draw_saliency as draw_saliency
from pairsim.visual.pictures.suspects import draw_suspects as draw_suspects

__all__ = [name for name, value in sorted(globals().items()) if callable(value)]
