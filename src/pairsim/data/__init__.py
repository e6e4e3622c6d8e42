"""Labelled images, and the pairs and batches drawn from them."""

from pairsim.data.augment import RandomAffine
from pairsim.data.class_index import ClassIndex
from pairsim.data.image_sets import ImageFiles, ImageTensors
from pairsim.data.labelled_images import LabelledData, LabelledImages
from pairsim.data.labels import read_labels
from pairsim.data.loading.batches import ClassBalancedBatches
from pairsim.data.loading.resident import make_resident
from pairsim.data.named import load_data
from pairsim.data.pairs.pair_dataset import PairDataset
from pairsim.data.pairs.pair_lists import PairList
from pairsim.data.pairs.pair_sampler import PairIndices, PairSampler
from pairsim.data.splits import split_by_class, stratified_split

__all__ = [
    "ClassBalancedBatches",
    "ClassIndex",
    "ImageFiles",
    "ImageTensors",
    "LabelledData",
    "LabelledImages",
    "PairDataset",
    "PairIndices",
    "PairList",
    "PairSampler",
    "RandomAffine",
    "load_data",
    "make_resident",
    "read_labels",
    "split_by_class",
    "stratified_split",
]
