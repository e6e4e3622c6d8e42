"""Labelled images and the pairs and batches drawn from them. Knows labels and numbers, never models."""

from pairsim.data.augment import RandomAffine as RandomAffine
from pairsim.data.class_index import ClassIndex as ClassIndex
from pairsim.data.image_sets import ImageFiles as ImageFiles
from pairsim.data.image_sets import ImageTensors as ImageTensors
from pairsim.data.labelled_images import LabelledData as LabelledData
from pairsim.data.labelled_images import LabelledImages as LabelledImages
from pairsim.data.labels import read_labels as read_labels
from pairsim.data.loading.batches import ClassBalancedBatches as ClassBalancedBatches
from pairsim.data.loading.resident import make_resident as make_resident
from pairsim.data.named import load_data as load_data
from pairsim.data.pairs.pair_dataset import PairDataset as PairDataset
from pairsim.data.pairs.pair_lists import PairList as PairList
from pairsim.data.pairs.pair_sampler import PairIndices as PairIndices
from pairsim.data.pairs.pair_sampler import PairSampler as PairSampler
from pairsim.data.splits import split_by_class as split_by_class
from pairsim.data.splits import stratified_split as stratified_split

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
