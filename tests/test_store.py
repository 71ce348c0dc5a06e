"""Files that are safe: whole or not at all, and every damage is named."""

import json
from pathlib import Path

import numpy as np
import pytest

from pofx import store
from pofx.errors import BadFile, CodecError

ARRAYS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.array([], np.int64),
    "c": np.float64(2.5).reshape(()),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    out = tmp_path / "x.pofx"
    store.write(out, "model", {"name": "é", "inf": float("inf")}, ARRAYS)
    return out


def test_what_was_written_is_read(path: Path) -> None:
    header, arrays = store.read(path, "model")
    assert header == {"name": "é", "inf": float("inf")}
    assert all(np.array_equal(arrays[k], v) and arrays[k].dtype == v.dtype for k, v in ARRAYS.items())
    assert [p.name for p in path.parent.iterdir()] == ["x.pofx"]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="found none"):
        store.read(tmp_path / "no.pofx", "model")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 100, b"PK\x03\x04" + b"x" * 500])
def test_a_foreign_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "y").write_bytes(content)
    with pytest.raises(BadFile, match="not a pofx file"):
        store.read(tmp_path / "y", "model")


def test_a_truncated_file(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(BadFile, match="truncated or damaged"):
        store.read(path, "model")


def test_every_flipped_byte_is_seen(path: Path) -> None:
    whole = path.read_bytes()
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :])
        with pytest.raises(BadFile):
            store.read(path, "model")


def test_a_newer_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "FORMAT", 7)
    store.write(path, "model", {}, ARRAYS)
    monkeypatch.undo()
    with pytest.raises(BadFile, match="format '7'.*upgrade"):
        store.read(path, "model")


def test_another_kind(path: Path) -> None:
    with pytest.raises(BadFile, match="'model' file, expected 'checkpoint'"):
        store.read(path, "checkpoint")


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(CodecError, match="create it first"):
        store.write(tmp_path / "no" / "x.pofx", "model", {}, ARRAYS)


def test_a_full_disk_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(CodecError, match="No space left on device; nothing was changed"):
        store.write(path, "model", {}, {"a": np.ones(3)})
    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 1


def test_nothing_in_a_file_runs_code(path: Path) -> None:
    size = int.from_bytes(path.read_bytes()[:8], "little")
    assert set(json.loads(path.read_bytes()[8 : 8 + size])) == {"__metadata__", *ARRAYS}
