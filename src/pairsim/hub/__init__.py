"""Push models to the Hugging Face Hub, load them from it, and write model cards."""

from pairsim.hub.model_cards import model_card as model_card
from pairsim.hub.model_cards import write_card as write_card
from pairsim.hub.transfer import from_hub as from_hub
from pairsim.hub.transfer import push_to_hub as push_to_hub

__all__ = ["from_hub", "model_card", "push_to_hub", "write_card"]
