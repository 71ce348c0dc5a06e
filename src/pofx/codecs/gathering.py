"""The pictures of a folder, a zip or a glob, or one alone, and their labels: of sub-folders, or of a labels.csv."""

import csv
import glob
import io
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple
from zipfile import BadZipFile, ZipFile, ZipInfo

import numpy as np

from ..errors import CodecError
from .pictures import Opened, Size, opened, stacked

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
LABELS = "labels.csv"
ENTRY = 1 << 30  # bytes of a file in a zip
SHOWN = 8
_ENCRYPTED = 1


class Found(NamedTuple):
    """A file: the parts of its path below the source, what errors call it, and how to get at it."""

    parts: tuple[str, ...]
    name: str
    file: Callable[[], Path | IO[bytes]]

    @property
    def pictured(self) -> bool:
        """Whether its ending is that of a picture."""
        return Path(self.parts[-1]).suffix.lower() in PICTURES

    @property
    def path(self) -> str:
        """Its path below the source."""
        return "/".join(self.parts)


@contextmanager
def files_of(source: str | Path) -> Iterator[list[Found] | None]:
    """The files of a folder and of all below it, of a zip, or those that a glob matches; None for another source.

    Raises CodecError for a zip that is damaged, encrypted or unsafe.
    """
    path, pattern = Path(source), str(source)
    if path.is_dir():
        yield _told([(file.relative_to(path).parts, file) for file in path.rglob("*") if file.is_file()])
    elif path.suffix.lower() == ".zip" and path.is_file():
        try:
            archive = ZipFile(path)
        except (BadZipFile, OSError) as error:
            raise CodecError(f"could not read the zip {pattern!r}: {error}; take another copy") from error
        with archive:
            yield _zipped(archive, pattern)
    elif not path.exists() and glob.has_magic(pattern):
        root, matched = root_of(path), map(Path, glob.glob(pattern, recursive=True))
        yield _told([(file.relative_to(root).parts, file) for file in matched if file.is_file()])
    else:
        yield None


@contextmanager
def _pictures_of(source: str | Path) -> Iterator[list[Found] | None]:
    """`files_of`, and a picture alone."""
    path = Path(source)
    if path.suffix.lower() in PICTURES and path.is_file():
        yield _told([((path.name,), path)])
    else:
        with files_of(source) as found:
            yield found


def root_of(pattern: Path) -> Path:
    """The folder in which a glob begins to choose."""
    return next(parent for parent in pattern.parents if not glob.has_magic(str(parent)))


def holds_pictures(source: str | Path) -> bool:
    """Whether a source is a picture, or most files of it are, by their ending."""
    with _pictures_of(source) as found:
        held = [file.pictured for file in found or () if file.parts[-1].lower() != LABELS]
        return sum(held) * 2 > len(held)


def read_pictures(
    source: str | Path, size: Size, broken: str = "refuse", largest: int | None = None
) -> tuple[np.ndarray, list[str | None] | None, str] | None:
    """(n, H, W, C), the label of each or None, and what was done, in words; None where the source has no files in it.

    broken: what becomes of files that cannot be read, "refuse" or "skip". Raises CodecError for these, for a source
    without pictures, for a zip that is unsafe, for labels that do not fit, and as `stacked` does.
    """
    if broken not in ("refuse", "skip"):
        raise CodecError(f"expected broken among refuse, skip, got {broken!r}")
    with _pictures_of(source) as found:
        if found is None:
            return None
        files = sorted((file for file in found if file.pictured), key=lambda file: file.parts)
        if not files:
            raise CodecError(f"expected pictures ({', '.join(PICTURES)}) in {str(source)!r}, found none")
        labels = _labels(found, files, source)
        pictures, kept, why = readable(files, largest)
    if why and (broken == "refuse" or not pictures):
        more = f" (and {len(why) - 1:,} more of {len(files):,}: {_shown(list(why)[1:])})" if len(why) > 1 else ""
        raise CodecError(
            f'{next(iter(why.values()))}{more}, or read without such: reading={{"broken": "skip"}}, --broken skip'
        )
    array, said = stacked(pictures, size)
    skipped = f"{len(why):,} of {len(files):,} could not be read and were skipped: {_shown(list(why))}"
    words = "; ".join(filter(None, [said, skipped if why else ""]))
    return array, [labels[i] for i in kept] if any(labels) else None, words


def readable(files: Sequence[Found], largest: int | None) -> tuple[list[Opened], list[int], dict[str, str]]:
    """The pictures that can be read, their numbers, and of the others by name why not."""
    pictures, kept, why = [], [], {}
    for i, found in enumerate(files):
        try:
            pictures.append(opened(found.file(), found.name, largest))
            kept.append(i)
        except CodecError as error:
            why[found.path] = str(error)
    return pictures, kept, why


def _shown(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:SHOWN])) + (", ..." if len(names) > SHOWN else "")


def _told(files: Sequence[tuple[tuple[str, ...], Path]]) -> list[Found]:
    return [Found(parts, str(file), partial(Path, file)) for parts, file in files if _meant(parts)]


def _meant(parts: Sequence[str]) -> bool:
    """Whether a file is one that somebody put there: macOS lays others beside them."""
    return "__MACOSX" not in parts and not parts[-1].startswith("._")


# -- zips --------------------------------------------------------------------------------------------------------------


def _zipped(archive: ZipFile, name: str) -> list[Found]:
    """The files of a zip, below the one folder in which all lie, if they do."""
    held = []
    for info in archive.infolist():
        parts = tuple(part for part in info.filename.replace("\\", "/").split("/") if part not in ("", "."))
        if info.is_dir() or not parts or not _meant(parts):
            continue
        _check(info, parts, name)
        where = f"{name}/{info.filename}"
        held.append(Found(parts, where, partial(_unpacked, archive, info, where)))
    top = {file.parts[0] for file in held if len(file.parts) > 1}
    one = len(top) == 1 and all(len(file.parts) > 1 for file in held)
    return [file._replace(parts=file.parts[1:]) if one else file for file in held]


def _check(info: ZipInfo, parts: Sequence[str], name: str) -> None:
    """Raises CodecError for an entry that points out of the zip, is a link, needs a password or is too large."""
    what = f"expected a safe zip, got {name!r} with the entry {info.filename!r}"
    if info.filename[0] in "/\\" or ".." in parts or ":" in parts[0] or stat.S_ISLNK(info.external_attr >> 16):
        raise CodecError(f"{what}, which points out of it: pack it again")
    if info.flag_bits & _ENCRYPTED:
        raise CodecError(f"{what}, which needs a password: unpack it and give the folder")
    if info.file_size > ENTRY:
        raise CodecError(f"{what} of {info.file_size:,} bytes, {ENTRY:,} at most: unpack it and give the folder")


def _unpacked(archive: ZipFile, info: ZipInfo, where: str) -> IO[bytes]:
    try:
        return io.BytesIO(archive.read(info))
    except Exception as error:  # each method of compression has errors of its own
        raise CodecError(
            f"could not read the picture {where!r}: it is damaged ({error}); remove it or take another copy"
        ) from error


# -- labels ------------------------------------------------------------------------------------------------------------


def _labels(found: Sequence[Found], files: Sequence[Found], source: str | Path) -> list[str | None]:
    """The label of each file: of labels.csv inside the source or beside it, else the first folder in which it lies."""
    path = Path(source) if glob.has_magic(str(source)) else Path(source).resolve()
    inside = next((file for file in found if file.path.lower() == LABELS), None)
    beside = (root_of(path) if not path.exists() else path.parent) / LABELS
    if inside is not None:
        held = inside.file()
        data, name = held.read_bytes() if isinstance(held, Path) else held.read(), inside.name
    elif beside.is_file():
        data, name = beside.read_bytes(), str(beside)
    else:
        return [file.parts[0] if len(file.parts) > 1 else None for file in files]
    rows, folder = _rows(data, name), f"{path.stem}/"
    own = {file.removeprefix(folder): label for file, label in rows.items() if file.startswith(folder)}
    return _matched(own if own and inside is None else rows, files, name)


def _rows(data: bytes, name: str) -> dict[str, str]:
    """The labels of a labels.csv by file."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CodecError(f"expected {name!r} in UTF-8, got byte {error.start:,} that is not: save it so") from error
    first = text.partition("\n")[0]
    lines = [line for line in csv.reader(io.StringIO(text), delimiter=max(",;\t", key=first.count)) if any(line)]
    titles = [title.strip().casefold() for title in lines[0]] if lines else []
    if not {"file", "label"} <= set(titles):
        raise CodecError(
            f"expected the columns file and label in {name!r}, got {', '.join(titles) or 'none'}: name them so, or "
            "give the file another name"
        )
    file, label = titles.index("file"), titles.index("label")
    rows: dict[str, str] = {}
    for number, line in enumerate(lines[1:], 2):
        cells = [*line, *[""] * (max(file, label) + 1 - len(line))]
        key = cells[file].strip().replace("\\", "/").removeprefix("./")
        if rows.setdefault(key, cells[label].strip()) != cells[label].strip():
            raise CodecError(f"expected one label for {key!r} in {name!r}, got another in row {number:,}: keep one")
    return rows


def _matched(rows: dict[str, str], files: Sequence[Found], name: str) -> list[str | None]:
    """The label of each file, None where it is empty; files are named by path, or by name alone where that is enough,
    in capitals or not.

    Raises CodecError for rows that name no file, and files without a row.
    """
    by_path = {file.path: i for i, file in enumerate(files)}
    loose: dict[str, list[int]] = {}
    for i, file in enumerate(files):
        for key in {file.path.casefold(), file.parts[-1].casefold()}:
            loose.setdefault(key, []).append(i)
    labels: dict[int, str] = {}
    lost = []
    for key, label in rows.items():
        meant = [by_path[key]] if key in by_path else loose.get(key.casefold(), [])
        if len(meant) == 1:
            labels[meant[0]] = label
        else:
            lost.append(key)
    if lost:
        raise CodecError(
            f"expected files that are there in {name!r}, got {len(lost):,} of {len(rows):,} rows that name none, or "
            f"several: {_shown(lost)}: correct or remove these"
        )
    bare = [file.path for i, file in enumerate(files) if i not in labels]
    if bare:
        raise CodecError(
            f"expected a row for each picture in {name!r}, got none for {len(bare):,} of {len(files):,}: "
            f"{_shown(bare)}: add these, with an empty label where it is unknown"
        )
    return [labels[i] or None for i in range(len(files))]
