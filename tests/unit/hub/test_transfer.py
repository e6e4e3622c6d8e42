"""Models on a Hub that runs here: the endpoints that creating, committing, listing and fetching use."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from onnx_graphs import write_onnx
from small_models import small_model

from pairsim import EmbeddingNet, SimilarityModel
from pairsim.errors import MissingExtraError, RunError
from pairsim.hub.model_cards import write_card
from pairsim.hub.transfer import from_hub, push_to_hub

NOWHERE = "http://127.0.0.1:9"


class Hub(ThreadingHTTPServer):
    """Repositories in memory; `requests` has every path that was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.repos: dict[str, dict[str, dict[str, bytes]]] = {}
        self.requests: list[str] = []
        self.created: list[dict[str, Any]] = []
        self.summaries: list[str] = []
        self.refuse: int | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def commit(self, repo: str, branch: str) -> str:
        files = self.repos[repo][branch]
        content = json.dumps({name: hashlib.sha1(data).hexdigest() for name, data in sorted(files.items())})
        return hashlib.sha1(content.encode()).hexdigest()

    def files(self, repo: str, revision: str) -> dict[str, bytes] | None:
        for branch, files in self.repos.get(repo, {}).items():
            if revision in (branch, self.commit(repo, branch)):
                return files
        return None


class Answers(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, body: Any = b"", **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def parts(self) -> list[str]:
        path = urlsplit(self.path).path
        self.server.requests.append(f"{self.command} {path}")
        return [unquote(part) for part in path.strip("/").split("/")]

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_POST(self) -> None:
        parts, body = self.parts(), self.body()
        if self.server.refuse is not None:
            return self.answer(self.server.refuse, {"error": "refused"})
        if parts == ["api", "repos", "create"]:
            wanted = json.loads(body)
            self.server.created.append(wanted)
            repo = f"{wanted['organization'] or 'me'}/{wanted['name']}"
            there = repo in self.server.repos
            self.server.repos.setdefault(repo, {"main": {}})
            return self.answer(409 if there else 200, {"url": f"{self.server.url}/{repo}"})
        if parts == ["api", "validate-yaml"]:
            return self.answer(200, {"errors": [], "warnings": []})
        repo, action, branch = "/".join(parts[2:4]), parts[4], parts[5]
        if action == "branch":
            self.server.repos[repo].setdefault(branch, {})
            return self.answer(200, {})
        if action == "preupload":
            files = [{"path": file["path"], "uploadMode": "regular"} for file in json.loads(body)["files"]]
            return self.answer(200, {"files": [{**file, "shouldIgnore": False} for file in files]})
        assert action == "commit"
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "header":
                self.server.summaries.append(line["value"]["summary"])
            else:
                content = base64.b64decode(line["value"]["content"])
                self.server.repos[repo][branch][line["value"]["path"]] = content
        commit = self.server.commit(repo, branch)
        return self.answer(200, {"commitUrl": f"{self.server.url}/{repo}/commit/{commit}", "commitOid": commit})

    def do_GET(self) -> None:
        parts = self.parts()
        if self.server.refuse is not None:
            return self.answer(self.server.refuse, {"error": "refused"})
        if parts[0] != "api":
            repo, revision, name = "/".join(parts[:2]), parts[3], "/".join(parts[4:])
            content = (self.server.files(repo, revision) or {})[name]
            etag = f'"{hashlib.sha1(content).hexdigest()}"'
            return self.answer(200, content, ETag=etag, X_Repo_Commit=revision)
        repo = "/".join(parts[2:4])
        if repo == "you/gated":
            return self.answer(403, {"error": "Access is restricted"}, X_Error_Code="GatedRepo")
        if repo not in self.server.repos:
            return self.answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        revision = parts[5] if len(parts) > 5 else "main"
        files = self.server.files(repo, revision)
        if files is None:
            return self.answer(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
        if parts[4:5] == ["tree"]:
            rows = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in files.items()
            ]
            return self.answer(200, rows)
        commit = self.server.commit(repo, revision) if revision in self.server.repos[repo] else revision
        return self.answer(200, {"id": repo, "sha": commit, "siblings": [{"rfilename": name} for name in files]})

    do_HEAD = do_GET


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    for name, value in {
        "HF_HUB_DISABLE_TELEMETRY": True,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_PROGRESS_BARS": True,
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": True,
        "HF_HUB_OFFLINE": False,
        "HF_TOKEN_PATH": "no-token",
        # whatever forgets the endpoint fails at once, without a network
        "ENDPOINT": NOWHERE,
        "HUGGINGFACE_CO_URL_TEMPLATE": NOWHERE + "/{repo_id}/resolve/{revision}/{filename}",
    }.items():
        monkeypatch.setattr(constants, name, value)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    huggingface_hub.close_session()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def model() -> SimilarityModel:
    return small_model(dim=4, threshold=0.5)


@pytest.fixture
def run(model: SimilarityModel, tmp_path: Path) -> Path:
    """A run folder with what must not leave the machine."""
    folder = tmp_path / "my-run"
    model.save_pretrained(folder / "model")
    for name in ("run.json", "data.json"):
        (folder / name).write_text("{}")
    (folder / "best_model.pt").write_bytes(b"private")
    (folder / "model" / "notes.txt").write_text("private")
    return folder


def same(first: SimilarityModel, second: SimilarityModel) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_there_and_back(hub: Hub, run: Path, model: SimilarityModel, tmp_path: Path) -> None:
    url = push_to_hub(run, "me/faces", endpoint=hub.url, token="hf_x", private=True, commit_message="First")
    assert url == f"{hub.url}/me/faces/commit/{hub.commit('me/faces', 'main')}"
    assert [(made["organization"], made["name"]) for made in hub.created] == [("me", "faces")]
    assert hub.created[0].get("visibility") == "private" or hub.created[0].get("private") is True  # before 2.0
    assert hub.summaries == ["First"]
    files = hub.repos["me/faces"]["main"]
    assert set(files) == {"config.json", "model.safetensors", "README.md"}
    assert files["model.safetensors"] == (run / "model/model.safetensors").read_bytes()
    assert "# faces\n" in files["README.md"].decode()
    assert 'from_hub("me/faces")' in files["README.md"].decode()
    hub.repos["me/faces"]["main"]["code.py"] = b"raise SystemExit"
    back = from_hub("me/faces", endpoint=hub.url, token=False, cache_dir=tmp_path / "cache")
    assert same(back, model)
    assert back.operating_point == model.operating_point
    fetched = {path.rpartition("/")[2] for path in hub.requests if "/resolve/" in path}
    assert fetched == {"config.json", "model.safetensors"}
    hub.requests.clear()
    again = from_hub("me/faces", endpoint=hub.url, cache_dir=tmp_path / "cache", local_files_only=True)
    assert same(again, model)
    assert hub.requests == []


def test_a_model_and_a_branch(hub: Hub, run: Path, model: SimilarityModel, tmp_path: Path) -> None:
    push_to_hub(run, "me/faces", endpoint=hub.url, card=False)
    other = small_model(dim=6)
    push_to_hub(other, "me/faces", endpoint=hub.url, revision="wide")
    assert set(hub.repos["me/faces"]["main"]) == {"config.json", "model.safetensors"}
    assert "# faces\n" in hub.repos["me/faces"]["wide"]["README.md"].decode()
    for revision, expected in ((None, model), ("wide", other), (hub.commit("me/faces", "wide"), other)):
        assert same(from_hub("me/faces", revision=revision, endpoint=hub.url, cache_dir=tmp_path / "c"), expected)


def test_a_card_that_was_edited_is_sent(hub: Hub, run: Path) -> None:
    path = write_card(run)
    text = path.read_text() + "\nMIT.\n"
    path.write_text(text)
    push_to_hub(run, "me/faces", endpoint=hub.url)
    assert hub.repos["me/faces"]["main"]["README.md"].decode() == text
    before = len(hub.requests)
    changed = SimilarityModel.from_pretrained(run)
    changed.operating_point = None  # the same weights, but what the card says of the threshold no longer holds
    for other in (changed, small_model(dim=6)):
        other.save_pretrained(run / "model")
        with pytest.raises(RunError, match=r"README.md to describe the model beside it.*pairsim card .*--overwrite"):
            push_to_hub(run, "me/faces", endpoint=hub.url)
    assert len(hub.requests) == before
    path.write_text("My own words.")
    push_to_hub(run, "me/faces", endpoint=hub.url)
    assert hub.repos["me/faces"]["main"]["README.md"] == b"My own words."


def test_a_folder_needs_no_hub(run: Path, model: SimilarityModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert same(from_hub(str(run)), model)
    assert same(from_hub(run / "model"), model)
    with pytest.raises(RunError, match="Expected a model or run folder"):
        from_hub(run / "absent")
    for use in (lambda: from_hub("me/faces"), lambda: push_to_hub(run, "me/faces")):
        with pytest.raises(MissingExtraError, match=r"huggingface_hub.*pip install 'pairsim\[hub\]'"):
            use()


def test_a_net_of_your_own(hub: Hub, tmp_path: Path) -> None:
    def build() -> EmbeddingNet:
        return EmbeddingNet(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3)), image_size=8)

    made = SimilarityModel(build())
    push_to_hub(made, "me/own", endpoint=hub.url)
    assert same(from_hub("me/own", embedding_net=build(), endpoint=hub.url, cache_dir=tmp_path), made)
    with pytest.raises(RunError, match=r"Expected a complete pairsim model in me/own: Expected embedding_net="):
        from_hub("me/own", endpoint=hub.url, cache_dir=tmp_path)


def test_what_is_no_pairsim_model(hub: Hub, run: Path, tmp_path: Path) -> None:
    hub.repos["you/text"] = {"main": {"README.md": b"hello"}}
    with pytest.raises(RunError, match=r"Expected a pairsim model in you/text, found no config.json and no model"):
        from_hub("you/text", endpoint=hub.url, cache_dir=tmp_path)
    weights = (run / "model/model.safetensors").read_bytes()
    hub.repos["you/bert"] = {"main": {"config.json": b'{"model_type": "bert"}', "model.safetensors": weights}}
    with pytest.raises(RunError, match=r"Expected a complete pairsim model in you/bert: .* say format pairsim-model"):
        from_hub("you/bert", endpoint=hub.url, cache_dir=tmp_path)


def test_damage_is_found(hub: Hub, run: Path, tmp_path: Path) -> None:
    push_to_hub(run, "me/faces", endpoint=hub.url)
    files = hub.repos["me/faces"]["main"]
    damaged = bytearray(files["model.safetensors"])
    damaged[-1] ^= 1
    files["model.safetensors"] = bytes(damaged)
    with pytest.raises(RunError, match="is damaged or from another save"):
        from_hub("me/faces", endpoint=hub.url, cache_dir=tmp_path / "c")
    shutil.copyfile(run / "model/config.json", tmp_path / "config.json")
    (run / "model/model.safetensors").write_bytes(bytes(damaged))
    with pytest.raises(RunError, match="is damaged or from another save"):  # and is not sent
        push_to_hub(run, "me/other", endpoint=hub.url)
    assert "me/other" not in hub.repos


def test_messages(hub: Hub, run: Path, tmp_path: Path) -> None:
    cache = tmp_path / "c"
    with pytest.raises(RunError, match=rf"Expected a repository me/absent on {hub.url}, found none that you can"):
        from_hub("me/absent", endpoint=hub.url, cache_dir=cache)
    push_to_hub(run, "me/faces", endpoint=hub.url)
    with pytest.raises(RunError, match="Expected a revision v9 of me/faces, found none"):
        from_hub("me/faces", revision="v9", endpoint=hub.url, cache_dir=cache)
    with pytest.raises(RunError, match=r"Expected me/faces in the cache or a connection to .*, found neither"):
        from_hub("me/faces", endpoint=hub.url, cache_dir=cache, local_files_only=True)
    with pytest.raises(RunError, match=r"Expected me/faces in the cache or a connection to .*, found neither"):
        from_hub("me/faces", endpoint=NOWHERE, cache_dir=cache)
    with pytest.raises(RunError, match=rf"Could not reach {NOWHERE} for me/faces: .*Check the network"):
        push_to_hub(run, "me/faces", endpoint=NOWHERE)
    with pytest.raises(RunError, match=rf"read you/gated, .*Request it at {hub.url}/you/gated, then log in with: hf"):
        from_hub("you/gated", endpoint=hub.url, cache_dir=cache)
    with pytest.raises(RunError, match=rf"Expected a token for {hub.url}, found none\. Give token=, or log in with"):
        push_to_hub(run, "me/faces", endpoint=hub.url, token=True)
    for name in ("./runs/absent", "a/b/c"):
        with pytest.raises(ValueError, match=rf'repository such as "name/my-model", got .{name}'):
            from_hub(name, endpoint=hub.url)
    hub.refuse = 403
    with pytest.raises(RunError, match=r"HTTP 403\. Give a token with this permission, or log in with: hf auth login"):
        push_to_hub(run, "me/faces", endpoint=hub.url)


@pytest.mark.filterwarnings("ignore:Nothing states how the pixels")
def test_an_onnx_file_that_is_the_backbone_goes_along(hub: Hub, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    model = SimilarityModel(EmbeddingNet(str(write_onnx(tmp_path / "faces.onnx")), embedding_dim=4))
    model.save_pretrained(tmp_path / "model")
    sent: list[SimilarityModel | Path] = [model, tmp_path / "model"]
    for number, what in enumerate(sent):
        push_to_hub(what, f"me/faces{number}", endpoint=hub.url)
        names = {"config.json", "model.safetensors", "README.md", "faces.onnx"}
        assert set(hub.repos[f"me/faces{number}"]["main"]) == names
        back = from_hub(f"me/faces{number}", endpoint=hub.url, token=False, cache_dir=tmp_path / "cache")
        assert same(back, model)
