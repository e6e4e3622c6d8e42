"""Embeddings of datasets and of folders of pictures."""

from pairsim.encoding.datasets import encode_dataset as encode_dataset
from pairsim.encoding.pictures import EncodedPictures as EncodedPictures
from pairsim.encoding.pictures import Skipped as Skipped
from pairsim.encoding.pictures import encode_pictures as encode_pictures

__all__ = [
    "EncodedPictures",
    "Skipped",
    "encode_dataset",
    "encode_pictures",
]
