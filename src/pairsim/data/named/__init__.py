"""Datasets by name, and folders with one sub-folder per class."""

from pairsim._common.choices import Split as Split
from pairsim.data.named.dataset_registry import NAMES as NAMES
from pairsim.data.named.dataset_registry import SPLITS as SPLITS
from pairsim.data.named.dataset_registry import data_root as data_root
from pairsim.data.named.dataset_registry import is_embedding_file as is_embedding_file
from pairsim.data.named.dataset_registry import load_data as load_data
