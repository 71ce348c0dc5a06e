"""Judging synthetic tables, a model's or anybody's: tables to columns, columns to evidence, evidence to a page."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import store
from .codecs.places import named
from .codecs.table import TableCodec
from .codecs.tabular_io import read_table
from .errors import CodecError, Unsupported
from .evaluate import Evidence, evaluate
from .evaluate_images import ImageEvidence
from .metrics.attacks import attacks
from .progress import bar
from .split import fingerprint

if TYPE_CHECKING:
    import pyarrow as pa


def judged(
    codec: TableCodec,
    synthetic: "pa.Table",
    train: "pa.Table",
    unseen: "pa.Table | None",
    target: str | None,
    log_probs: Mapping[str, np.ndarray] | None,
    seed: int,
    quiet: bool,
    attacked: bool = False,
) -> Evidence:
    """The evidence on a synthetic table: every column is read as the training rows say, dependent ones included.

    attacked: with what attackers learn of training rows (metrics/attacks.py); Unsupported without unseen rows.
    """
    if attacked and unseen is None:
        raise Unsupported("expected rows that were never learned from for attacks to be compared on: give a hold-out")
    fake, real = codec.encode(synthetic, derived=True), codec.encode(train, derived=True)
    other = codec.encode(unseen, derived=True) if unseen is not None else None
    with bar("judging", 100, "%", quiet) as tick:
        done = 0

        def hear(share: float, what: str) -> None:
            nonlocal done
            tick(int(share * 100) - done, what)
            done = int(share * 100)

        evidence = evaluate(
            codec.whole,
            fake,
            real,
            other,
            target=target,
            log_probs=log_probs or None,
            seed=seed,
            progress=hear,
            rules=codec.held.checks(),
        )
    if attacked and other is not None:
        with bar("attacking", None, "row", quiet) as tick:
            try:
                evidence.tables["attacks"] = attacks(codec.whole.fields, fake, real, other, seed)
            except Unsupported as reason:  # the other figures stand
                evidence.skipped["attacks"] = str(reason)
            tick(len(synthetic))
    return evidence


def judge(
    synthetic: Any,
    train: Any,
    holdout: Any = None,
    target: str | None = None,
    *,
    fields: Mapping[str, Any] | None = None,
    report: str | Path | None = None,
    json: str | Path | None = None,
    seed: int = 0,
    quiet: bool = False,
    privacy: bool = False,
) -> Evidence:
    """The evidence on anybody's synthetic table: paths or frames of synthetic, training and unseen rows.

    privacy: with attacks on training rows beside unseen ones (metrics/attacks.py).

    Raises CodecError where a table cannot be read or lacks a column of the training rows, SpecError for a target that
    is no column.
    """
    for path in (report, json):
        if path is not None:
            store.check_folder(Path(path))
    with bar("reading", None, "table", quiet) as tick:
        fake, real = read_table(synthetic)[0], read_table(train)[0]
        unseen = read_table(holdout)[0] if holdout is not None else None
        tick(3)
    evidence = judged(TableCodec.learn(real, fields=fields), fake, real, unseen, target, None, seed, quiet, privacy)
    names = [named(s, "a frame")["source"] for s in (synthetic, train)]
    facts = {"synthetic": names[0], "train": names[1], "fingerprint": fingerprint(fake)}
    publish(evidence, report, json, f"{names[0]} against {names[1]}", facts)
    return evidence


def publish(
    evidence: Evidence | ImageEvidence,
    report: str | Path | None,
    to_json: str | Path | None,
    title: str,
    provenance: dict[str, Any],
) -> None:
    """Writes report.html and metrics.json, each where it was asked for, whole or not at all."""
    if report is not None and isinstance(evidence, ImageEvidence):
        from .report.images import render_images

        write_text(Path(report), render_images(evidence, title=title, provenance=provenance))
    elif report is not None and isinstance(evidence, Evidence):
        from .report.page import write_report

        write_report(evidence, Path(report), title=title, provenance=provenance)
    if to_json is not None:
        write_text(Path(to_json), json.dumps({"title": title, "provenance": provenance} | evidence.to_json(), indent=1))


def check_asked(what: str, odd: Mapping[str, Any], *paths: str | Path | None) -> None:
    """Before a model of `what` is judged: Unsupported for words it has no use for, CodecError for folders not there."""
    if given := [name for name, value in odd.items() if value]:
        raise Unsupported(f"expected no {given[0]} for a model of {what}: leave it out")
    for path in paths:
        if path is not None:
            store.check_folder(Path(path))


def write_evidence(
    title: str,
    evidence: Any,
    provenance: Mapping[str, Any],
    html: Callable[[str], str],
    report: str | Path | None,
    to_json: str | Path | None,
) -> None:
    """The page of evidence, the verdict of the fit on top, and its figures, where they are asked for."""
    if report is not None:
        from .report.page import judged_block

        write_text(Path(report), html(title).replace("</h1>", f"</h1>{judged_block(provenance)}", 1))
    if to_json is not None:
        told = {"title": title, "provenance": provenance} | evidence.to_json()
        write_text(Path(to_json), json.dumps(told, indent=1))


def write_text(path: Path, text: str) -> None:
    """Writes a text file beside its place and renames it.

    Raises CodecError where that cannot be done.
    """
    store.check_folder(path)
    part = store.beside(path)
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise CodecError(f"could not write {str(path)!r}: {error.strerror or error}; nothing was changed") from error
    finally:
        part.unlink(missing_ok=True)
