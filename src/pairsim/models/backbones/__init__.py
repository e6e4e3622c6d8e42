"""Backbones of `EmbeddingNet`: nets of torchvision and timm by name, ONNX files, and modules that are given."""

from pairsim.models.backbones.building import channels_of as channels_of
from pairsim.models.backbones.building import read_weights as read_weights
from pairsim.models.backbones.registry import Backbone as Backbone
from pairsim.models.backbones.registry import backbone_names as backbone_names
from pairsim.models.backbones.registry import given_backbone as given_backbone
from pairsim.models.backbones.registry import named_backbone as named_backbone
from pairsim.models.backbones.weight_files import find_weights as find_weights

__all__ = ["Backbone", "backbone_names", "find_weights", "given_backbone", "named_backbone", "read_weights"]
