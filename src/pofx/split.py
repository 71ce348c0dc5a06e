"""Which rows are for training, validation and test: a permutation under the fit's seed; and what the rows were."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from .codecs.columns import as_texts
from .codecs.spool import BLOCK, Spool
from .errors import SpecError

if TYPE_CHECKING:
    import pyarrow as pa


def parts(
    rows: int, shares: Sequence[float], seed: int, labels: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row numbers for training, validation and test, in shares of the whole; at least one row is for training.

    Of each label, (rows,), None for those that do not count, one row is for training while there are labels of which
    two are: it changes places with one of those. Raises SpecError for shares that are negative or do not sum to one.
    """
    _check(shares)
    order = np.random.default_rng(seed).permutation(rows)
    test, valid = int(rows * shares[2]), int(rows * shares[1])
    cut = rows - test - valid
    if labels is not None:
        _spread(order, cut, labels)
    return np.sort(order[:cut]), np.sort(order[cut : cut + valid]), np.sort(order[cut + valid :])


def parts_of(ends: Sequence[int], shares: Sequence[float], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`parts` of each stretch of rows by itself, the stretches ending before rows `ends`: what is appended to a file
    leaves the rows before it in the parts that they were in.
    """
    each = [tuple(part + a for part in parts(b - a, shares, seed)) for a, b in pairwise([0, *ends])]
    train, valid, test = (np.concatenate(some) for some in zip(*each, strict=True))
    return train, valid, test


def _check(shares: Sequence[float]) -> None:
    if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6 or shares[0] == 0:
        raise SpecError(f"expected three shares (train, validation, test) that sum to one, got {tuple(shares)}")


def _spread(order: np.ndarray, cut: int, labels: np.ndarray) -> None:
    """Moves one row of each label that has none before `cut` there, for a row of a label that has two or more."""
    count = Counter(labels[order[:cut]].tolist())
    free = cut - 1
    for place in range(cut, len(order)):
        label = labels[order[place]]
        if label is None or count[label]:
            continue
        while free >= 0 and (of := labels[order[free]]) is not None and count[of] < 2:
            free -= 1
        if free < 0:
            return
        count[labels[order[free]]] -= 1
        count[label] += 1
        order[[place, free]] = order[[free, place]]
        free -= 1


def private_parts(table: "pa.Table", shares: Sequence[float], seed: int, unit: str) -> "tuple[pa.Table, pa.Table]":
    """(rows to learn from, rows for a test): each row by itself, by a hash of its cells or of its entity's key.

    The share of validation is learned from too, since nothing is validated. One row of each entity is kept.
    """
    _check(shares)
    texts = [as_texts(column).to_pylist() for column in table.columns]
    own = np.array([_level("\x1f".join(map(str, row)), seed) for row in zip(*texts, strict=True)])
    if unit == "rows":
        level, kept = own, np.arange(table.num_rows)
    else:
        entity = np.array(list(map(str, texts[table.column_names.index(unit)])))
        order = np.lexsort((own, entity))
        kept = np.sort(order[np.r_[True, entity[order][1:] != entity[order][:-1]]] if len(order) else order)
        level = np.array([_level(name, seed) for name in entity])
    test = level[kept] >= shares[0] + shares[1] - 1e-12
    return table.take(kept[~test]), table.take(kept[test])


def _level(text: str, seed: int) -> float:
    """A number in [0, 1) that a text and a seed decide."""
    key = (seed % 2**64).to_bytes(8, "little")
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, key=key).digest(), "little") / 2.0**64


def fingerprint(table: "pa.Table | Spool") -> str:
    """SHA-256 over names, types and cells; a table on disk has another than the same in memory."""
    import pyarrow as pa

    digest = hashlib.sha256()

    class Sink:
        closed = False

        def write(self, data: bytes) -> int:
            digest.update(data)
            return len(data)

        def flush(self) -> None: ...

        def close(self) -> None: ...

    with pa.ipc.new_stream(pa.PythonFile(Sink(), "w"), table.schema.remove_metadata()) as stream:
        for part in _blocks(table):
            stream.write_table(part.replace_schema_metadata(None), max_chunksize=BLOCK)
    return digest.hexdigest()


def _blocks(table: "pa.Table | Spool") -> "Iterator[pa.Table]":
    if isinstance(table, Spool):
        yield from (rows for _, rows in table.blocks())
    else:
        yield table.take(np.arange(table.num_rows)).combine_chunks()  # a slice has bytes of what it is a slice of
