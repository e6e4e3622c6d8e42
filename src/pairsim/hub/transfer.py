"""Upload models to the Hugging Face Hub and load models from it.

An upload has the files of a model folder, `model.safetensors` and `config.json`, and the ONNX file of a backbone if it
has one, and a model card. Only the former are downloaded, and their format and checksums are verified. No code is ever
downloaded.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from torch import nn

from pairsim._common import storage
from pairsim._common.numbers import truth_value
from pairsim.errors import RunError, require
from pairsim.hub.model_cards import CARD, model_card
from pairsim.models import SimilarityModel, pretrained
from pairsim.models.backbones.onnx_nets import ENDING
from pairsim.models.pretrained import saved_sha256

_FILES = (pretrained.CONFIG, pretrained.WEIGHTS)
_LIBRARY = "pairsim"


def push_to_hub(
    model_or_run: SimilarityModel | str | os.PathLike[str],
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    commit_message: str = "Upload a pairsim model",
    revision: str | None = None,
    card: bool = True,
    endpoint: str | None = None,
) -> str:
    """Upload a model to the Hugging Face Hub, in one commit.

    The repository is created if needed. Only the model and its card are uploaded: no data, log or checkpoint of a run.

    Args:
        model_or_run: A run or model folder, or a model.
        repo_id: Such as `"name/my-model"`.
        private: Whether a new repository is private; by default the account's setting.
        token: Access token with write permission; by default that of `hf auth login`.
        commit_message: Of the commit.
        revision: The branch, created if needed; by default the main branch.
        card: Whether to upload a model card: the `README.md` in the model folder, or else a new one.
        endpoint: Another Hub than huggingface.co.

    Returns:
        The URL of the commit.

    Raises:
        MissingExtraError: If huggingface_hub is not installed.
        RunError: If there is no model, its card is of another model, or the Hub rejects the upload or cannot be
            reached.
        ValueError: If `repo_id` is not a valid name of a repository.
    """
    truth_value(card, "card")
    hub = _hub()
    with tempfile.TemporaryDirectory(prefix="pairsim-") as temporary:
        folder = Path(temporary)
        if isinstance(model_or_run, SimilarityModel):
            model_or_run.save_pretrained(folder)
            source = folder
        else:
            source = pretrained.load(Path(model_or_run), nn.Identity()).folder  # checks the files, for any net
            for name, content in pretrained.read_files(source).items():
                storage.write_file(folder / name, content)
        if card:
            text = _existing_card(source) or model_card(source, title=repo_id.rpartition("/")[2], repo_id=repo_id)
            storage.write_file(folder / CARD, storage.encoded(text))
        api = hub.HfApi(endpoint=endpoint, token=token, library_name=_LIBRARY)
        with _explained(repo_id, revision, endpoint):
            repo_id = str(api.create_repo(repo_id, private=private, exist_ok=True).repo_id)
            if revision is not None:
                api.create_branch(repo_id, branch=revision, exist_ok=True)
            return str(
                api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=commit_message, revision=revision)
            )


def from_hub(
    repo_id_or_folder: str | os.PathLike[str],
    *,
    embedding_net: nn.Module | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
    endpoint: str | None = None,
) -> SimilarityModel:
    """Load a model from the Hugging Face Hub, or from a folder.

    Args:
        repo_id_or_folder: Such as `"name/my-model"`; an existing folder takes precedence and needs no extra.
        embedding_net: The net that the weights are for, needed unless it is the reference network.
        revision: Branch, tag or commit; by default the main branch. Only a commit always gives the same model.
        token: Access token with read permission; by default that of `hf auth login`.
        cache_dir: Folder for downloads; by default the Hub's own cache.
        force_download: Whether to download again what is in the cache.
        local_files_only: Whether to use only the cache.
        endpoint: Another Hub than huggingface.co.

    Returns:
        The model on the CPU, in eval mode.

    Raises:
        MissingExtraError: If it is not a folder and huggingface_hub is not installed.
        RunError: If there is no such model, it is not a pairsim model, is damaged, or cannot be downloaded.
        ValueError: If it is neither a folder nor a valid name of a repository.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     SimilarityModel().save_pretrained(folder)
        ...     from_hub(folder).preprocessing.image_size
        (28, 28)
    """
    if isinstance(repo_id_or_folder, os.PathLike) or storage.is_folder(repo_id_or_folder):
        return SimilarityModel.from_pretrained(repo_id_or_folder, embedding_net=embedding_net)
    hub, repo_id = _hub(), repo_id_or_folder
    with _explained(repo_id, revision, endpoint):
        folder = Path(
            hub.snapshot_download(
                repo_id,
                revision=revision,
                token=token,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                endpoint=endpoint,
                library_name=_LIBRARY,
                allow_patterns=[*_FILES, f"*{ENDING}"],
            )
        )
    missing = [name for name in _FILES if not storage.is_file(folder / name)]
    if missing:
        raise RunError(
            f"Expected a pairsim model in {repo_id}, found no {' and no '.join(missing)}. Check the name and revision."
        )
    try:
        return SimilarityModel.from_pretrained(folder, embedding_net=embedding_net)
    except RunError as error:
        raise RunError(f"Expected a complete pairsim model in {repo_id}: {error}") from error


def _hub() -> ModuleType:
    return require("huggingface_hub", extra="hub", purpose="Sharing models on the Hugging Face Hub")


def _existing_card(folder: Path) -> str | None:
    """Read the card in a model folder, if any, and check that its checksums are those of the model."""
    path = folder / CARD
    if not storage.is_file(path):
        return None
    text = storage.read_bytes(path).decode(errors="replace")
    checksums = set(re.findall(r"\b[0-9a-f]{64}\b", text))
    if checksums and not checksums.issuperset(saved_sha256(folder).values()):
        raise RunError(
            f"Expected {path} to describe the model beside it, found other checksums of weights or settings. "
            f"Write it again with: pairsim card {folder} --overwrite"
        )
    return text


@contextlib.contextmanager
def _explained(repo_id: str, revision: str | None, endpoint: str | None) -> Iterator[None]:
    """Raise errors of the Hub as one line with the next step."""
    errors = importlib.import_module("huggingface_hub.errors")
    url = endpoint or importlib.import_module("huggingface_hub.constants").ENDPOINT
    log_in = "log in with: hf auth login"
    messages = {  # the first class that fits
        errors.GatedRepoError: f"Expected permission to read {repo_id}, which its owner grants on request. Request it "
        f"at {url}/{repo_id}, then {log_in}",
        errors.RevisionNotFoundError: f"Expected a revision {revision} of {repo_id}, found none. Check its branches "
        "and tags.",
        errors.RepositoryNotFoundError: f"Expected a repository {repo_id} on {url}, found none that you can access. "
        f"Check the name; if it is private, {log_in}",
        errors.LocalEntryNotFoundError: f"Expected {repo_id} in the cache or a connection to {url}, found neither. "
        "Check the network, or give a folder with the model.",
        errors.LocalTokenNotFoundError: f"Expected a token for {url}, found none. Give token=, or {log_in}",
    }
    try:
        yield
    except errors.HFValidationError as error:
        raise ValueError(
            f'Expected an existing folder, or a repository such as "name/my-model", got {repo_id!r}.'
        ) from error
    except (*messages, errors.HfHubHTTPError, errors.HTTPError, OSError) as error:
        message = next((text for kind, text in messages.items() if isinstance(error, kind)), None)
        if message is None and isinstance(error, errors.HfHubHTTPError):
            status = error.response.status_code
            advice = f"Give a token with this permission, or {log_in}" if status in (401, 403) else "Try again later."
            message = f"The request to {url} for {repo_id} failed with HTTP {status}. {advice}"
        raise RunError(
            message or f"Could not reach {url} for {repo_id}: {error}. Check the network and try again."
        ) from error
