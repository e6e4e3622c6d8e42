"""Augmentation of training images, whole batches at a time on the device that trains."""

from pairsim.data.augment.affine import RandomAffine as RandomAffine
from pairsim.data.augment.augmentation import Augmentation as Augmentation
from pairsim.data.augment.augmentation import AugmentFunction as AugmentFunction
from pairsim.data.augment.augmentation import Compose as Compose
from pairsim.data.augment.augmentation import make_augmentation as make_augmentation
from pairsim.data.augment.photo import ColorJitter as ColorJitter
from pairsim.data.augment.photo import RandomCrop as RandomCrop
from pairsim.data.augment.photo import RandomErasing as RandomErasing
from pairsim.data.augment.photo import RandomFlip as RandomFlip

__all__ = [
    "AugmentFunction",
    "Augmentation",
    "ColorJitter",
    "Compose",
    "RandomAffine",
    "RandomCrop",
    "RandomErasing",
    "RandomFlip",
    "make_augmentation",
]
