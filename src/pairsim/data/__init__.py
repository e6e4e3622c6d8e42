"""Labelled images, and the pairs and batches drawn from them."""

from typing import TYPE_CHECKING

from pairsim._common import lazy

if TYPE_CHECKING:
    from pairsim.data.augment.affine import RandomAffine as RandomAffine
    from pairsim.data.augment.augmentation import Compose as Compose
    from pairsim.data.augment.photo import ColorJitter as ColorJitter
    from pairsim.data.augment.photo import RandomCrop as RandomCrop
    from pairsim.data.augment.photo import RandomErasing as RandomErasing
    from pairsim.data.augment.photo import RandomFlip as RandomFlip
    from pairsim.data.class_index import ClassIndex as ClassIndex
    from pairsim.data.image_sets import ImageFiles as ImageFiles
    from pairsim.data.image_sets import ImageTensors as ImageTensors
    from pairsim.data.image_sets import LabelledData as LabelledData
    from pairsim.data.image_sets import LabelledImages as LabelledImages
    from pairsim.data.labels import read_labels as read_labels
    from pairsim.data.loading.batches import ClassBalancedBatches as ClassBalancedBatches
    from pairsim.data.loading.resident import make_resident as make_resident
    from pairsim.data.named import load_data as load_data
    from pairsim.data.named.embedding_files import read_embeddings as read_embeddings
    from pairsim.data.pairs.pair_dataset import PairDataset as PairDataset
    from pairsim.data.pairs.pair_lists import PairList as PairList
    from pairsim.data.pairs.pair_sampler import PairIndices as PairIndices
    from pairsim.data.pairs.pair_sampler import PairSampler as PairSampler
    from pairsim.data.pairs.pair_splits import PairSplit as PairSplit
    from pairsim.data.pairs.pair_splits import split_pairs as split_pairs
    from pairsim.data.pairs.random_negatives import with_random_negatives as with_random_negatives
    from pairsim.data.splits import split_by_class as split_by_class
    from pairsim.data.splits import stratified_split as stratified_split
else:
    __all__, __dir__, __getattr__ = lazy.exports(__name__)
