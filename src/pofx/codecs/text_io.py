"""Text in and out: files and lists of strings, as lines or as one document.

Which file is which, and what is dropped in reading, is in docs/text.md.
"""

import gzip
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..errors import CodecError, SpecError
from .dialect import check_encoding, find_encoding

ENDINGS = (".txt", ".text", ".md")
HEAD, COLUMNED = 2**16, 50  # bytes and lines of a .txt that show whether it is a table
SPARSE = 100  # lines to a blank one, beyond which blank lines are slips
FEW, LONG = 10, 1000  # fewer lines than FEW, of LONG characters or more, are prose


@dataclass(frozen=True)
class Texts:
    """Lines, each an example, or one document: one string. Equal where these are.

    encoding: of the file that was read; notes: what was found or lost in reading, by subject; labels: of lines, one
    each, object (n,), None where missing; column, label: of the table they are of, the names of text and labels.
    """

    lines: tuple[str, ...]
    document: bool
    encoding: str = field(default="utf-8", compare=False)
    notes: dict[str, str] = field(default_factory=dict, compare=False)
    labels: np.ndarray | None = field(default=None, compare=False)
    column: str | None = field(default=None, compare=False)
    label: str = "label"

    def __len__(self) -> int:
        """Lines, or characters of a document."""
        return sum(map(len, self.lines)) if self.document else len(self.lines)

    def take(self, rows: np.ndarray | Sequence[int]) -> Self:
        """The lines of these numbers; of a document the stretch of these characters.

        Raises SpecError where those of a document are no increasing run.
        """
        index = np.asarray(rows)
        if not self.document:
            labels = None if self.labels is None else self.labels[index]
            return replace(self, lines=tuple(self.lines[i] for i in index), labels=labels)
        first, n = int(index[0]) if len(index) else 0, len(index)
        if first < 0 or not np.array_equal(index, np.arange(first, first + n)):
            raise SpecError("expected a run of characters of a document, got others: take first, first + 1, ..., last")
        return replace(self, lines=(self.lines[0][first : first + n],))

    def fingerprint(self) -> str:
        """SHA-256 over the lines and their labels, or the document."""
        told = (self.document, self.lines) + (() if self.labels is None else (self.label, self.labels.tolist()))
        return hashlib.sha256(repr(told).encode()).hexdigest()

    def table(self) -> Any:
        """An Arrow table of the lines and their labels, named as those that were read, else `text` and `label`."""
        import pyarrow as pa

        told = {} if self.labels is None else {self.label: self.labels.tolist()}
        return pa.table({self.column or "text": list(self.lines)} | told)

    def bare(self) -> Self:
        """Without labels."""
        return replace(self, labels=None)


# -- in ----------------------------------------------------------------------------------------------------------------


def holds_text(source: Any) -> bool:
    """Whether a source is text: a path that ends in .txt, .text or .md, also .gz, or a list or tuple of str.

    A .txt is a table where each of its first lines has as many tabs, semicolons or commas as the first, one or more.
    """
    if isinstance(source, list | tuple):
        return bool(source) and all(isinstance(line, str) for line in source)
    if not isinstance(source, str | Path) or not Path(source).name.lower().removesuffix(".gz").endswith(ENDINGS):
        return False
    return not (Path(source).suffix.lower() == ".txt" and Path(source).is_file() and _in_columns(Path(source)))


def _in_columns(path: Path) -> bool:
    with path.open("rb") as file:
        lines = [line for line in file.read(HEAD).split(b"\n")[:COLUMNED] if line.strip()]
    return bool(lines) and any(
        {line.count(mark) for line in lines} == {max(1, lines[0].count(mark))} for mark in b"\t;,"
    )


def read_texts(
    source: Any, *, encoding: str | None = None, document: str = "auto", least: int = 2
) -> tuple[Texts, str]:
    """(texts, kind of container: "file" or "list") of a path or of strings.

    encoding: of the file; without it UTF-8, else as found. document: "yes", "no" or "auto": strings are lines, and a
    file is a document where blank lines, one line in a hundred or more, part stretches of which the longest has two
    lines or more, or where it has fewer than ten lines, of a thousand characters or more on average.

    Lines are told without their blank ones, a document with all but its line ends, which become "\\n". Raises
    CodecError for a path at which there is no file, for what is empty, binary or not in `encoding`, for fewer than
    `least` lines, and for strings that are not Unicode.
    """
    if document not in ("auto", "yes", "no"):
        raise SpecError(f"expected document to be 'auto', 'yes' or 'no', got {document!r}")
    if isinstance(source, list | tuple):
        name, found, lines = "the list", "utf-8", list(source)
        check_strings(lines)
        text, whole = "\n".join(lines) if document == "yes" else "", document == "yes"
        notes: dict[str, str] = {}
    else:
        name = repr(str(source))
        text, found, notes = _file(Path(source), encoding)
        lines = text.removesuffix("\n").split("\n")
        whole = document == "yes" or (document == "auto" and _is_document(lines))
    kept = [line for line in lines if line.strip()]
    if not kept:
        raise CodecError(f"{name} is empty, expected text: check what it holds")
    if document == "auto":
        notes["document"] = (
            f"one document of {len(text):,} characters" if whole else f"{len(kept):,} lines, each an example"
        )
    if whole:
        return Texts((text,), True, found, notes), "list" if isinstance(source, list | tuple) else "file"
    if len(kept) < least:
        raise CodecError(f"{name} has one line, expected two or more examples: read it as a document, document='yes'")
    if blank := len(lines) - len(kept):
        notes["blank lines"] = f"{blank:,} dropped"
    return Texts(tuple(kept), False, found, notes), "list" if isinstance(source, list | tuple) else "file"


def check_strings(lines: Sequence[Any]) -> None:
    """CodecError where one is no string, or holds half a surrogate pair."""
    for i, line in enumerate(lines):
        if not isinstance(line, str):
            raise CodecError(f"expected strings, got {type(line).__name__} at {i}: leave it out")
        if any("\ud800" <= c <= "\udfff" for c in line if not c.isascii()):
            raise CodecError(f"expected strings of Unicode, got half a surrogate pair at {i}: decode it anew")


def _is_document(lines: list[str]) -> bool:
    """The rule of `read_texts` for a file."""
    runs = [(blank, sum(1 for _ in run)) for blank, run in groupby(lines, key=lambda line: not line.strip())]
    inner = sum(n for blank, n in runs[1:-1] if blank)
    longest = max((n for blank, n in runs if not blank), default=0)
    if inner * SPARSE >= len(lines) and inner and longest > 1:
        return True
    return len(lines) < FEW and sum(map(len, lines)) >= LONG * len(lines)


def _file(path: Path, encoding: str | None) -> tuple[str, str, dict[str, str]]:
    """(text, encoding, notes) of a file; line ends are "\\n"."""
    name = repr(str(path))
    if not path.is_file():
        raise CodecError(f"expected text at {name}, found {'a folder' if path.is_dir() else 'nothing'}: check the path")
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix.lower() == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise CodecError(f"could not read text from {name}: {error}") from error
    found = check_encoding(encoding) if encoding else _found(data, name)
    try:
        text = data.decode(found).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise CodecError(f"{name} is not text in {found}: leave the encoding out or give another") from error
    if "\0" in text:
        raise CodecError(f"{name} is binary (it holds NUL), expected text: check the file's type")
    found = "utf-8" if found == "utf-8-sig" else found
    notes = {} if encoding or found == "utf-8" else {"encoding": f"read as {found}, for it is not UTF-8"}
    if "\r" in text:
        notes["line ends"] = "those of Windows or old Macs became \\n"
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text, found, notes


def _found(data: bytes, name: str) -> str:
    try:
        return find_encoding(data, True, name)
    except CodecError:
        raise CodecError(f"{name} is binary, expected text: check the file's type") from None


# -- out ---------------------------------------------------------------------------------------------------------------


def write_texts(texts: Texts, path: str | Path) -> int:
    """Writes UTF-8, a line each or the document as it is, whole or not at all; `len(texts)`.

    A line break inside a line is written as the two characters \\n (\\r for a carriage return), which notes then say.
    Raises CodecError as `store.placed` does.
    """
    from .. import store

    if texts.document:
        text = texts.lines[0]
    else:
        single = [line.replace("\r", "\\r").replace("\n", "\\n") for line in texts.lines]
        if broken := sum(a != b for a, b in zip(single, texts.lines, strict=True)):
            texts.notes["line breaks"] = f"{broken:,} lines hold line breaks, written as the two characters \\n"
        text = "".join(line + "\n" for line in single)
    with store.placed(Path(path)) as file:
        file.write(text.encode())
    return len(texts)
