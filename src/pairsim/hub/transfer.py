"""Models on the Hugging Face Hub: `push_to_hub` and `from_hub`.

What is sent is a model folder: `model.safetensors`, `config.json` and a model card. What is fetched are the first two,
whose format and checksum are verified; nothing that could run as code is ever downloaded.
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
from pairsim.errors import RunError, require
from pairsim.hub.model_cards import CARD, model_card
from pairsim.models import SimilarityModel, pretrained
from pairsim.models.identity import saved_sha256

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

    The repository is made if needed. Nothing of a run but its model and card is sent: no data, log or checkpoint.

    Args:
        model_or_run: A run or model folder, or a model.
        repo_id: Such as `"name/my-model"`.
        private: Whether a repository that is made is private; by default what the owner has set.
        token: Of a user who may write there; by default the one of `hf auth login`.
        commit_message: Of the commit.
        revision: The branch, made if needed; by default the main one.
        card: Whether to send a model card: the `README.md` in the model folder, or else one made of the run.
        endpoint: Another Hub than huggingface.co.

    Returns:
        The address of the commit.

    Raises:
        MissingExtraError: If huggingface_hub is not installed.
        RunError: If there is no model, its card is of another model, or the Hub refuses or cannot be reached.
        ValueError: If `repo_id` is not a name for a repository.
    """
    hub = _hub()
    with tempfile.TemporaryDirectory(prefix="pairsim-") as temporary:
        folder = Path(temporary)
        if isinstance(model_or_run, SimilarityModel):
            model_or_run.save_pretrained(folder)
            text = model_card(folder, title=_name(repo_id), repo_id=repo_id) if card else None
        else:
            text = _copy_model(Path(model_or_run), folder, repo_id, card=card)
        if text is not None:
            storage.write_file(folder / CARD, text.encode())
        api = hub.HfApi(endpoint=endpoint, token=token, library_name=_LIBRARY)
        with _explained(repo_id, revision, endpoint):
            repo_id = str(api.create_repo(repo_id, private=private, exist_ok=True).repo_id)
            if revision is not None:
                api.create_branch(repo_id, branch=revision, exist_ok=True)
            return str(
                api.upload_folder(
                    repo_id=repo_id,
                    folder_path=folder,
                    commit_message=commit_message,
                    revision=revision,
                    allow_patterns=[*_FILES, CARD],
                )
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
        repo_id_or_folder: Such as `"name/my-model"`; a folder that is there is taken first, and needs no extra.
        embedding_net: The net that the weights are for, needed unless it is the reference network.
        revision: Branch, tag or commit; by default the main branch. Only a commit always gives the same model.
        token: Of a user who may read it; by default the one of `hf auth login`.
        cache_dir: Where downloads are kept; by default the Hub's own cache.
        force_download: Whether to download what is in the cache anew.
        local_files_only: Whether to take only what is in the cache.
        endpoint: Another Hub than huggingface.co.

    Returns:
        The model on the CPU, in eval mode.

    Raises:
        MissingExtraError: If it is not a folder and huggingface_hub is not installed.
        RunError: If there is no such model, it is no pairsim model, is damaged, or cannot be fetched.
        ValueError: If it is neither a folder nor a name for a repository.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     SimilarityModel().save_pretrained(folder)
        ...     from_hub(folder).preprocessing.image_size
        (28, 28)
    """
    if isinstance(repo_id_or_folder, os.PathLike) or os.path.isdir(repo_id_or_folder):
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
                allow_patterns=list(_FILES),
            )
        )
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        raise RunError(
            f"Expected a pairsim model in {repo_id}, found no {' and no '.join(missing)}. Check the name and revision."
        )
    try:
        return SimilarityModel.from_pretrained(folder, embedding_net=embedding_net)
    except RunError as error:
        raise RunError(f"Expected a whole pairsim model in {repo_id}: {error}") from error


def _hub() -> ModuleType:
    return require("huggingface_hub", extra="hub", purpose="Sharing models on the Hugging Face Hub")


def _name(repo_id: str) -> str:
    return repo_id.rpartition("/")[2]


def _copy_model(run: Path, folder: Path, repo_id: str, *, card: bool) -> str | None:
    """Copy a model folder's two files after checking them, and give the text of its card."""
    source = pretrained.load(run).folder
    for name in _FILES:
        storage.write_file(folder / name, (source / name).read_bytes())
    if not card:
        return None
    own = source / CARD
    if not own.is_file():
        return model_card(run, title=_name(repo_id), repo_id=repo_id)
    text = own.read_text(encoding="utf-8")
    named = set(re.findall(r"\b[0-9a-f]{64}\b", text))
    if named and not named.issuperset(saved_sha256(source).values()):
        raise RunError(
            f"Expected {own} to be of the model beside it, found it to be of other weights or another threshold or "
            f"calibration. Make it anew with: pairsim card {run} --overwrite"
        )
    return text


@contextlib.contextmanager
def _explained(repo_id: str, revision: str | None, endpoint: str | None) -> Iterator[None]:
    """The Hub's failures, as one line that says what to do."""
    errors = importlib.import_module("huggingface_hub.errors")
    place = endpoint or importlib.import_module("huggingface_hub.constants").ENDPOINT
    log_in = "log in with: hf auth login"
    try:
        yield
    except errors.HFValidationError as error:
        raise ValueError(
            f'Expected a folder that is there, or a repository such as "name/my-model", got {repo_id!r}.'
        ) from error
    except errors.GatedRepoError as error:
        raise RunError(
            f"Expected leave to read {repo_id}, which its owner gives on request. Ask at {place}/{repo_id}, "
            f"then {log_in}"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise RunError(
            f"Expected a revision {revision} of {repo_id}, found none. Check its branches and tags."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise RunError(
            f"Expected a repository {repo_id} on {place}, found none that you may see. Check the name; if it is "
            f"private, {log_in}"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise RunError(
            f"Expected {repo_id} in the cache or a connection to {place}, found neither. Check the network, or give a "
            "folder with the model."
        ) from error
    except errors.LocalTokenNotFoundError as error:
        raise RunError(f"Expected a token for {place}, found none. Give token=, or {log_in}") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        advice = f"Give a token that may do this, or {log_in}" if status in (401, 403) else "Try again later."
        raise RunError(f"Expected {place} to do what was asked for {repo_id}, got HTTP {status}. {advice}") from error
    except (errors.HTTPError, OSError) as error:  # the first is the base of the HTTP client's own failures
        raise RunError(f"Could not reach {place} for {repo_id}: {error}. Check the network and try again.") from error
