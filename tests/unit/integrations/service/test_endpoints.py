"""What the service answers on each path, over HTTP, in this process."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from http_clients import Client, served_here
from http_forms import pictures, png
from small_models import small_model

from pairsim import Gallery, SimilarityModel
from pairsim.images import PictureFile

for package in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
    pytest.importorskip(package, reason="needs the extra serve")

MODEL = small_model(threshold=0.5)
BAD = b"no picture"


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    with served_here(MODEL, tmp_path / "gallery") as (found, _, _):
        yield found


@pytest.fixture(scope="module")
def plain() -> Iterator[Client]:
    """A service without a gallery."""
    with served_here(MODEL) as (found, _, _):
        yield found


def both(first: bytes, second: bytes) -> list[tuple[str, bytes, str]]:
    return [("first", first, "one.png"), ("second", second, "other.png")]


def test_compare_gives_the_verdict_of_the_model(plain: Client) -> None:
    expected = MODEL.verify(PictureFile(png(1)), PictureFile(png(2)))
    answer = plain.post("/compare", both(png(1), png(2)))
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json == pytest.approx(vars(expected), abs=1e-6)
    assert answer.json["fmr"] == 0.01
    answer = plain.post("/compare", [*both(png(1), png(1)), ("threshold", "0.25")])
    assert answer.json == {
        "match": True, "similarity": pytest.approx(1.0, abs=1e-6), "probability": pytest.approx(0.9933, abs=1e-3),
        "threshold": 0.25, "fmr": None,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "nan", "inf", "1.5", "-2", "high", "0,5", "1e999", "0_1", "٠"])
def test_thresholds_that_are_none(text: str, plain: Client) -> None:
    answer = plain.post("/compare", [*both(png(1), png(2)), ("threshold", text)])
    assert answer.status == 422
    assert f"threshold as a similarity in [-1, 1], got {text!r}" in answer.problem


def test_encode_gives_embeddings_in_order(plain: Client) -> None:
    contents = [png(number) for number in range(20)]
    answer = plain.post("/encode", pictures(*contents))
    expected = MODEL.encode([PictureFile(content) for content in contents])
    torch.testing.assert_close(torch.tensor(answer.json["embeddings"]), expected, rtol=0, atol=1e-6)


def test_pictures_that_cannot_be_read_are_named(plain: Client) -> None:
    answer = plain.post("/encode", [*pictures(png(1)), ("pictures", BAD, "cat\x1b[2J.png")])
    assert answer.status == 422
    assert "cat\\x1b[2J.png to be an image, but its content is not of any known image format" in answer.problem
    assert "but it is empty (0 bytes)" in plain.post("/encode", [("pictures", b"", "a.png")]).problem
    assert "second" in plain.post("/compare", both(png(1), png(2))[:1]).problem
    assert plain.post("/encode", []).status in (400, 422)
    assert "'picture' with a file" in plain.post("/encode", pictures(png(1), field="picture")).problem


def test_pixels_are_counted_before_anything_is_decoded(plain: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRSIM_MAX_PIXELS", "100")
    assert plain.post("/encode", pictures(png(1))).status == 200
    answer = plain.post("/encode", pictures(png(1, (11, 10))))
    assert answer.status == 422
    assert "to have at most 100 pixels, found 10 x 11" in answer.problem


def test_a_picture_is_enrolled_identified_and_removed(client: Client) -> None:
    answer = client.post("/enrol", [*pictures(png(1), png(2)), ("ids", "a/1.png"), ("ids", "ü 2?&#")])
    assert (answer.status, answer.json) == (200, {"ids": ["a/1.png", "ü 2?&#"], "num_images": 2, "quality": []})
    answer = client.post("/identify", [*pictures(png(2), png(3)), ("threshold", "0.999")])
    first, second = answer.json["results"]
    ratio = math.exp(5)  # of an untrained model at similarity 1, against one other identity and somebody unknown
    probability = ratio / (ratio + 1 + 2)
    assert first == {
        "id": "ü 2?&#", "similarity": pytest.approx(1.0), "probability": pytest.approx(probability), "fpir": None,
    }  # fmt: skip
    assert second["id"] is None
    assert client.remove("ü 2?&#").json == {"ids": ["ü 2?&#"], "num_images": 1}
    answer = client.post("/identify", [*pictures(png(2)), ("threshold", "0.999")])
    assert answer.json["results"][0]["id"] is None
    assert client.remove("ü 2?&#").status == 404
    assert client.remove("a/1.png").json["num_images"] == 0


def test_parameters_in_the_address_are_not_left_out_in_silence(client: Client) -> None:
    answer = client.post("/enrol?identity=tea", [*pictures(png(1)), ("ids", "a")])
    assert (answer.status, "no parameters in the address, got 'identity'. Send it as" in answer.problem) == (422, True)
    assert client.post("/enrol", [*pictures(png(1), png(2)), ("ids", "a"), ("ids", "b")]).status == 200
    answer = client.request("DELETE", "/gallery?id=a&id=b")
    assert (answer.status, "Expected one parameter, id, once" in answer.problem) == (422, True)
    assert client.remove("a").json == {"ids": ["a"], "num_images": 1}


def test_poor_pictures_are_enrolled_and_named(client: Client) -> None:
    answer = client.post("/enrol", [*pictures(png(1), png(2, (1, 1))), ("ids", "a"), ("ids", "b")])
    assert (answer.status, answer.json["num_images"]) == (200, 2)
    (poor,) = answer.json["quality"]
    assert poor["id"] == "b"
    assert [reason["kind"] for reason in poor["reasons"]] == ["too small", "low contrast"]
    assert poor["reasons"][0] == {"kind": "too small", "value": 8.0, "limit": 4.0}


def test_a_gallery_without_calibration_needs_a_threshold(client: Client) -> None:
    assert client.post("/enrol", [*pictures(png(1)), ("ids", "a")]).status == 200
    answer = client.post("/identify", pictures(png(1)))
    assert answer.status == 409
    assert "a threshold or a gallery with a calibration" in answer.problem


def test_an_empty_gallery_identifies_nothing(client: Client) -> None:
    answer = client.post("/identify", [*pictures(png(1)), ("threshold", "0.5")])
    assert (answer.status, "found it empty" in answer.problem) == (409, True)


def test_wrong_enrolments_change_nothing(client: Client) -> None:
    assert client.post("/enrol", [*pictures(png(1)), ("ids", "a")]).status == 200
    wrong = [
        ([*pictures(png(2))], 422, "one id for each picture, got 0 for 1"),
        ([*pictures(png(2), png(3)), ("ids", "b")], 422, "got 1 for 2"),
        ([*pictures(png(2), png(3)), ("ids", "b"), ("ids", "b")], 422, "each id once"),
        ([*pictures(png(2)), ("ids", "")], 422, "1 to 1000 characters"),
        ([*pictures(png(2)), ("ids", "x" * 1001)], 422, "1 to 1000 characters"),
        ([*pictures(png(2)), ("ids", "b"), ("identity", "")], 422, "1 to 1000 characters"),
        ([*pictures(png(2)), ("ids", "b"), ("identity", "x"), ("identity", "y")], 422, "at most once"),
        ([*pictures(png(2)), ("ids", "a")], 409, "new ids, got 'a', which the gallery has"),
        ([*pictures(png(2), BAD), ("ids", "b"), ("ids", "c")], 422, "1.png to be an image"),
    ]
    for fields, status, text in wrong:
        answer = client.post("/enrol", fields)
        assert (answer.status, text in answer.problem) == (status, True), answer.problem
    assert client.post("/enrol", [*pictures(png(4)), ("ids", "b")]).json["num_images"] == 2


def test_a_service_without_a_gallery(plain: Client) -> None:
    for answer in (
        plain.post("/identify", pictures(png(1))),
        plain.post("/enrol", [*pictures(png(1)), ("ids", "a")]),
        plain.remove("a"),
    ):
        assert answer.status == 404
        assert "Start it with --gallery FOLDER." in answer.problem


def test_requests_that_are_none(plain: Client) -> None:
    for query in ("", "?id=", f"?id={'x' * 1001}"):
        assert "a valid value for query.id" in plain.request("DELETE", f"/gallery{query}").problem
    assert plain.get("/nowhere").status == 404
    assert "/compare, /encode" in plain.get("/nowhere").problem
    answer = plain.get("/compare")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    answer = plain.request("POST", "/encode", b"{}", {"Content-Type": "application/json"})
    assert answer.status == 415
    assert plain.get("/docs").status == 404  # it would load scripts from elsewhere


def test_the_schema_describes_every_path(plain: Client) -> None:
    schema = plain.get("/openapi.json").json
    assert schema["info"]["version"] == "1.2.3"
    assert {(path, method) for path, methods in schema["paths"].items() for method in methods} == {
        *((f"/{name}", "post") for name in ("compare", "encode", "identify", "enrol")),
        ("/gallery", "delete"), ("/health", "get"), ("/metrics", "get"),
    }  # fmt: skip
    form = schema["paths"]["/identify"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(form["properties"]) == {"pictures", "threshold"}
    assert "422" in schema["paths"]["/encode"]["post"]["responses"]
    assert set(schema["components"]["schemas"]["Compared"]["required"]) == set(vars(MODEL.verify(*both_files())))


def both_files() -> tuple[PictureFile, PictureFile]:
    return PictureFile(png(1)), PictureFile(png(2))


def test_a_full_queue_asks_to_come_again(tmp_path: Path) -> None:
    with served_here(MODEL) as (client, service, _):
        service.batcher._max_waiting = 3
        answer = client.post("/encode", pictures(*[png(1)] * 4))
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert "all places taken" in answer.problem
        assert client.post("/encode", pictures(*[png(1)] * 3)).status == 200


def test_memory_that_runs_out_is_no_fault_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model()
    with served_here(model) as (client, _, _):

        def fail(*_: object, **__: object) -> None:
            raise MemoryError

        monkeypatch.setattr(SimilarityModel, "encode", fail)
        answer = client.post("/encode", pictures(png(1)))
        assert (answer.status, "enough memory" in answer.problem) == (503, True)
        monkeypatch.undo()
        assert client.post("/encode", pictures(png(1))).status == 200


def test_ids_in_the_address_may_be_any_text(client: Client) -> None:
    names = ["a//b", "../x", "%2F", "+", "a b"]
    for number, name in enumerate(names):
        assert client.post("/enrol", [*pictures(png(number)), ("ids", name)]).status == 200
    for number, name in enumerate(names, start=1):
        assert client.remove(name).json == {"ids": [name], "num_images": len(names) - number}


def test_all_pictures_that_are_removed_are_named(client: Client) -> None:
    fields = [*pictures(png(1), png(2)), ("ids", "a"), ("ids", "b"), ("identity", "ada")]
    assert client.post("/enrol", fields).status == 200
    assert client.remove("ada").json == {"ids": ["a", "b"], "num_images": 0}


def test_paths_and_methods_that_are_wrong(plain: Client) -> None:
    answer = plain.post("/compare/", both(png(1), png(2)))
    assert (answer.status, answer.problem.split(", found")[1]) == (404, " another. See /openapi.json.")
    assert plain.get("/compare").problem == "Expected POST of /compare, found GET. Send POST."


def test_a_picture_as_text_and_a_text_as_a_file(plain: Client) -> None:
    answer = plain.post("/encode", [("pictures", "digits")])
    assert (answer.status, answer.problem) == (
        422, "Expected the fields pictures, got 'pictures' with text. Send it as a file.",
    )  # fmt: skip
    answer = plain.post("/compare", [*both(png(1), png(2)), ("threshold", b"0.5", "threshold.txt")])
    assert answer.problem.endswith("got 'threshold' with a file. Send it as text.")


def test_advice_is_for_http_clients(client: Client) -> None:
    answer = client.post("/identify", [*pictures(png(1)), ("threshold", "0.5")])
    assert answer.problem == "Expected a gallery with pictures, found it empty. Enrol some first: POST /enrol."
    assert client.post("/enrol", [*pictures(png(1)), ("ids", "a")]).status == 200
    assert "Send the field threshold, or stop the service" in client.post("/identify", pictures(png(1))).problem


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    gallery, name = Gallery(MODEL), "caf\udce9"
    gallery.add([PictureFile(png(1)), PictureFile(png(2))], [f"{name}/1.png", "b"], identities=[name, "b"])
    gallery.save(tmp_path / "gallery")
    with served_here(MODEL, tmp_path / "gallery") as (client, _, _):
        answer = client.post("/identify", [*pictures(png(1), png(2)), ("threshold", "0.999")])
        assert [one["id"] for one in answer.json["results"]] == ["caf\\udce9", "b"]


def test_the_schema_says_where_a_token_is_needed(plain: Client) -> None:
    assert "security" not in plain.get("/openapi.json").json
    with served_here(MODEL, token="0123456789abcdef-secret") as (client, _, _):
        schema = client.get("/openapi.json").json
    assert schema["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}
    assert schema["security"] == [{"token": []}]
    assert schema["paths"]["/health"]["get"]["security"] == []
