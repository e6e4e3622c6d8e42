"""Connect pairsim to other libraries and programs: TensorBoard, a Gradio app, an HTTP service."""

from pairsim.integrations.tensorboard_log import TensorBoardLog as TensorBoardLog
from pairsim.integrations.web_app import build_app as build_app
from pairsim.integrations.web_app import serve as serve

__all__ = ["TensorBoardLog", "build_app", "serve"]
