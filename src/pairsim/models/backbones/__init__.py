"""Backbones of `EmbeddingNet`: nets of torchvision and timm by name, and modules that are given."""

from pairsim.models.backbones.registry import backbone_names as backbone_names
from pairsim.models.backbones.registry import given_backbone as given_backbone
from pairsim.models.backbones.registry import is_backbone_name as is_backbone_name
from pairsim.models.backbones.registry import named_backbone as named_backbone
from pairsim.models.backbones.source import Backbone as Backbone
from pairsim.models.backbones.source import channels_of as channels_of
from pairsim.models.backbones.weight_files import PRETRAINED as PRETRAINED
from pairsim.models.backbones.weight_files import read_weights as read_weights

__all__ = ["Backbone", "backbone_names", "given_backbone", "named_backbone", "read_weights"]
