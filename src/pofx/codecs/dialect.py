"""How a text file spells a table: its encoding, its delimiter, whether it has a header; found, or as told."""

import codecs
import csv
import io
import re
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import CodecError

DELIMITERS = (",", ";", "\t", "|")
_NUMBER = re.compile(r"\s*[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?\s*")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class Dialect:
    """The spelling of a delimited text file; `space` says that a blank follows every delimiter."""

    delimiter: str = ","
    encoding: str = "utf-8"
    header: bool = True
    newline: str = "\n"
    space: bool = False

    def meta(self) -> dict[str, Any]:
        """Plain values that rebuild the dialect."""
        return asdict(self)


def check_encoding(encoding: str) -> str:
    """The encoding's name; CodecError where there is no such encoding."""
    try:
        return codecs.lookup(encoding).name
    except LookupError:
        raise CodecError(f"expected the name of an encoding such as utf-8 or cp1252, got {encoding!r}") from None


def find_encoding(head: bytes, whole: bool, name: str) -> str:
    """The encoding of a file that begins with `head` (`whole`: and ends there).

    Byte order marks are believed; then UTF-8 if the bytes are UTF-8; else what charset-normalizer thinks most likely
    among the encodings of one byte, else cp1252. CodecError for bytes that are no text.
    """
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            return encoding
    odd = sum(head.count(bytes([b])) for b in (*range(9), *range(14, 27), *range(28, 32), 127))
    if b"\0" in head or odd > len(head) / 100:
        raise CodecError(f"{name!r} is binary, expected text or a Parquet or Feather file: check the file's type")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, final=whole)
        return "utf-8"
    except UnicodeDecodeError:
        return _one_byte(head)


def _one_byte(head: bytes) -> str:
    try:
        head.decode("cp1252")
        western = True
    except UnicodeDecodeError:
        western = False
    letters = sum(byte >= 0xC0 for byte in head) / max(sum(byte > 32 for byte in head), 1)
    if western and letters < 0.3:
        return "cp1252"
    try:
        from charset_normalizer import from_bytes
    except ImportError:
        return "cp1252" if western else "latin-1"
    best = from_bytes(head[: 1 << 16]).best()
    return best.encoding if best is not None else "cp1252" if western else "latin-1"


def records(text: str, limit: int = 200) -> list[str]:
    """The first lines of a text that are not blank; a line break inside quotes does not end a line."""
    out, start, quoted = [], 0, False
    for match in re.finditer(r'"|\r\n|\n|\r', text):
        if match.group() == '"':
            quoted = not quoted
        elif not quoted:
            out.append(text[start : match.start()])
            start = match.end()
            if len(out) >= limit:
                break
    else:
        out.append(text[start:])
    return [line for line in out if line.strip()]


def split(line: str, delimiter: str) -> list[str]:
    """The cells of one line, quotes respected and taken off."""
    return next(csv.reader(io.StringIO(line, newline=""), delimiter=delimiter), [])


def find_delimiter(lines: list[str]) -> str | None:
    """The delimiter on which the lines agree best, by a vote: the share of lines that have the most common count.

    Returns None where no line has any, so that the table has one column.
    """
    best, vote = None, 0.0
    bare = [re.sub(r'"(?:[^"]|"")*"', "", line) for line in lines]
    for delimiter in DELIMITERS:
        counts = Counter(line.count(delimiter) for line in bare)
        count, lines_agreed = max(counts.items(), key=lambda item: (item[1], item[0]))
        share = lines_agreed / len(lines)
        score = (share + 0.5 * (share == 1.0)) * (1 + min(count, 20) / 100) if count else 0.0
        if score > vote:
            best, vote = delimiter, score
    return best


def check_delimiter(delimiter: str, lines: list[str], name: str) -> None:
    """CodecError where the delimiter given is none, or does not occur while another one does."""
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise CodecError(f"expected a delimiter of one character, got {delimiter!r}")
    found = find_delimiter(lines)
    if found not in (None, delimiter) and not any(delimiter in line for line in lines):
        raise CodecError(
            f"the delimiter {delimiter!r} does not occur in {name!r}, but {found!r} does: "
            f"leave the delimiter out or give {found!r}"
        )


def has_header(rows: list[list[str]]) -> bool:
    """Whether the first row names the columns: no, if a number stands there above numbers, and no text does."""
    if len(rows) < 2:
        return True
    verdicts = set()
    for i, top in enumerate(rows[0]):
        below = [row[i] for row in rows[1:] if i < len(row) and row[i].strip()]
        if below and sum(bool(_NUMBER.fullmatch(cell)) for cell in below) > 0.9 * len(below):
            verdicts.add("name" if top.strip() and not _NUMBER.fullmatch(top) else "number")
    return "name" in verdicts or "number" not in verdicts
