"""Files of embeddings are labelled data whose images are vectors of length 1."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pairsim.data import load_data
from pairsim.data.named import is_embedding_file
from pairsim.data.named.embedding_files import _checked, load, read_embeddings
from pairsim.errors import DataError, DatasetNotFoundError
from pairsim.images import Preprocessing

VECTORS: npt.NDArray[np.float32] = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32) * 7
LABELS = np.array([f"p{number % 4}" for number in range(40)])


def write(file: Path, **columns: Any) -> Path:
    np.savez(file, **{"embeddings": VECTORS, "labels": LABELS, **columns})
    return file


def unit(vectors: npt.NDArray[Any]) -> npt.NDArray[Any]:
    lengths: npt.NDArray[Any] = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    scaled: npt.NDArray[Any] = vectors / lengths
    return scaled


def test_embeddings_are_images_of_one_pixel(tmp_path: Path) -> None:
    found = read_embeddings(write(tmp_path / "a.npz", ids=np.arange(100, 140)))
    assert (found.images.shape, found.images.dtype) == ((40, 5, 1, 1), torch.float32)
    np.testing.assert_allclose(found.images[:, :, 0, 0], unit(VECTORS), atol=1e-6)
    assert found.labels is not None
    assert found.labels.tolist() == LABELS.tolist()
    assert found.ids == list(range(100, 140))
    assert re.fullmatch(r"a\.npz \(SHA-256 [0-9a-f]{12}\)", found.source)
    np.savez(tmp_path / "b.npz", embeddings=VECTORS[:3].astype(np.float16))
    plain = read_embeddings(tmp_path / "b.npz")
    assert (plain.labels, plain.ids, len(plain.images)) == (None, [0, 1, 2], 3)


@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 4), st.integers(1, 4)),
        elements=st.one_of(st.just(0.0), st.floats(1e-300, 1e300), st.floats(-1e300, -1e-300)),
    ).filter(lambda values: bool(values.any(axis=1).all()))
)
def test_embeddings_of_any_scale_get_length_1(values: npt.NDArray[np.float64]) -> None:
    found = _checked(values, Path("a.npz")).astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-6)
    largest = np.abs(values).argmax(axis=1)
    rows = np.arange(len(values))
    assert (np.sign(found[rows, largest]) == np.sign(values[rows, largest])).all()


def test_splits(tmp_path: Path) -> None:
    file = write(tmp_path / "a.npz")
    train, test = load_data(file, "train"), load_data(str(file), "test")
    assert (len(train), len(test), train.class_names) == (32, 8, ("p0", "p1", "p2", "p3"))
    assert (train.image_size, train.channels, train.source) == ((1, 1), 5, read_embeddings(file).source)
    rows = {tuple(data[number][0].flatten().tolist()) for data in (train, test) for number in range(len(data))}
    assert len(rows) == 40
    whole = load(file, "all", None)
    assert whole.targets.tolist() == LABELS.tolist()
    with pytest.raises(DataError, match=r"a\.npz has no validation split of its own"):
        load_data(file, "val")


def test_the_length_that_a_model_takes(tmp_path: Path) -> None:
    file = write(tmp_path / "a.npz")
    with pytest.raises(DataError, match="Expected embeddings of 8 numbers, as the model was trained on, found 5 in"):
        read_embeddings(file, 8)


def changed(row: int, value: float) -> npt.NDArray[np.float32]:
    vectors = VECTORS.copy()
    vectors[row] = value
    return vectors


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"embeddings": VECTORS[0]}, r"Expected embeddings \[N, D\] in floating point in .*, found float32 \(5,\)"),
        ({"embeddings": VECTORS.astype(int)}, "in floating point in .*, found int64"),
        ({"embeddings": VECTORS[:0], "labels": LABELS[:0]}, r"found float32 \(0, 5\)"),
        ({"embeddings": changed(7, np.nan)}, "found NaN or infinity in 1 of 40 rows of .*, the first is row 7"),
        ({"embeddings": changed(3, np.inf)}, "found NaN or infinity in 1 of 40 rows of .*, the first is row 3"),
        ({"embeddings": changed(9, 0.0)}, "found zeros only in 1 of 40 rows of .*, the first is row 9"),
        ({"labels": LABELS[:5]}, "Expected one label for each of 40 images, found 5 labels.* See .*npz"),
        ({"labels": np.array([None] * 40)}, "holds Python objects, which are not read; save labels and ids with"),
        ({"labels": np.full(40, np.nan)}, "Expected a label for every image, found 40 NaN"),
        (
            {"labels": np.where(np.arange(40) % 20 == 7, " ", LABELS)},
            r"Expected a label for each embedding, found none for 2 of 40, the first in row 7\. Fill it in.* See .*npz",
        ),
    ],
    ids=["one vector", "whole numbers", "none", "nan", "infinity", "zeros", "few labels", "objects", "nan", "empty"],
)
def test_files_that_cannot_be_used(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_data(write(tmp_path / "a.npz", **columns), "train")


def test_a_model_of_pictures_takes_no_embeddings(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Expected pictures, as the model was trained on, found embeddings in"):
        load(write(tmp_path / "a.npz"), "all", Preprocessing(image_size=(28, 28), channels=1))


def test_missing_parts(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"Expected a file of embeddings at .*absent\.npz, found nothing"):
        load_data(tmp_path / "absent.npz", "train")
    np.savez(tmp_path / "a.npz", embeddings=VECTORS)
    with pytest.raises(DataError, match=r"Expected labels in .*a\.npz, found none"):
        load_data(tmp_path / "a.npz", "train")
    np.savez(tmp_path / "b.npz", vectors=VECTORS, labels=LABELS)
    with pytest.raises(DataError, match=r"Expected embeddings in .*b\.npz, found vectors, labels\. Give an \.npz file"):
        load_data(tmp_path / "b.npz", "train")
    for content in (b"", b"no archive"):
        (tmp_path / "c.npz").write_bytes(content)
        with pytest.raises(DataError, match=r"Expected embeddings in .*c\.npz, but: "):
            load_data(tmp_path / "c.npz", "train")
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("embeddings.npy", b"no array")
    with pytest.raises(DataError, match=r"Expected embeddings in .*d\.npz, but: embeddings is not an array"):
        read_embeddings(tmp_path / "d.npz")
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"Expected a file of embeddings, found .*png"):
        read_embeddings(tmp_path / "a.png")


def test_npy_with_a_table_beside_it(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VECTORS)
    assert read_embeddings(tmp_path / "a.npy").labels is None
    rows = "".join(f'"name, {number}",{label}\n' for number, label in enumerate(LABELS))
    (tmp_path / "a.csv").write_text(f"\ufeffid,label\n{rows}")
    found = read_embeddings(tmp_path / "a.npy")
    assert found.labels is not None
    assert (found.ids[3], found.labels.tolist()) == ("name, 3", LABELS.tolist())
    (tmp_path / "a.csv").write_text("ID, Label\n" + "".join(f"{k}, {label} \n" for k, label in enumerate(LABELS)))
    found = read_embeddings(tmp_path / "a.npy")
    assert found.labels is not None
    assert (found.ids[3], found.labels.tolist()) == ("3", LABELS.tolist())
    (tmp_path / "a.csv").write_text("id,label\nx,y\n")
    with pytest.raises(DataError, match="Expected one label for each of 40 images, found 1 labels"):
        read_embeddings(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.array([object()]), allow_pickle=True)
    with pytest.raises(DataError, match="holds Python objects"):
        read_embeddings(tmp_path / "b.npy")


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("id;label", "its first line is 'id;label'. Save it as CSV in UTF-8, with commas"),
        ("x0,a", "its first line is 'x0,a'"),
        ("", "its first line is ''"),
        ("ids,label", "it has 'ids' for 'id'"),
        ("label,label", "it has 'label' and 'label' for 'label'"),
    ],
)
def test_tables_whose_columns_would_be_left_out_without_a_word(tmp_path: Path, header: str, said: str) -> None:
    np.save(tmp_path / "a.npy", VECTORS)
    (tmp_path / "a.csv").write_text("\n".join([header, *(f"x{number},{label}" for number, label in enumerate(LABELS))]))
    with pytest.raises(DataError, match=f"the columns label and id at .*, but: {said}"):
        read_embeddings(tmp_path / "a.npy")


@pytest.mark.parametrize("name", ["label", "Labels", "id", "IDs"])
def test_arrays_that_would_be_left_out_without_a_word(tmp_path: Path, name: str) -> None:
    arrays: dict[str, Any] = {"embeddings": VECTORS, name: LABELS}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=f"it has '{name}' for '{name.lower().rstrip('s')}s'"):
        read_embeddings(tmp_path / "a.npz")


def test_parquet(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {"embedding": VECTORS.tolist(), "label": LABELS.tolist(), "id": list(range(40)), "more": [1] * 40}
    file = tmp_path / "a.parquet"
    parquet.write_table(arrow.table(columns), file)
    found = read_embeddings(file)
    np.testing.assert_allclose(found.images[:, :, 0, 0], unit(VECTORS), atol=1e-6)
    assert found.labels is not None
    assert (found.labels.tolist(), found.ids) == (LABELS.tolist(), list(range(40)))
    parquet.write_table(arrow.table({"vector": columns["embedding"]}), file)
    with pytest.raises(DataError, match=r"Expected embeddings in .*, found vector"):
        read_embeddings(file)
    parquet.write_table(arrow.table({"embedding": columns["embedding"], "labels": columns["label"]}), file)
    with pytest.raises(DataError, match="it has 'labels' for 'label'"):
        read_embeddings(file)
    parquet.write_table(arrow.table({"embedding": [[1.0], [1.0, 2.0]]}), file)
    with pytest.raises(DataError, match=r"Expected embeddings in .*a\.parquet, but"):
        read_embeddings(file)
    file.write_bytes(b"no table")
    with pytest.raises(DataError, match=r"Expected embeddings in .*a\.parquet, but"):
        read_embeddings(file)


def test_a_folder_of_that_name_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "data.npz").mkdir()
    assert not is_embedding_file(tmp_path / "data.npz")
    assert is_embedding_file("absent.PARQUET")
