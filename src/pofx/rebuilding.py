"""Codes of rows of a table: how well unseen rows are rebuilt from them, beside PCA, and what each number of them does.

A column is asked one question or two. Of a number: which, R^2 = 1 - mean squared error / variance and mean absolute
error in its own units, over the rows that have it; where some cells were missing also whether it is, as one of two
levels. Of a level (missing is one): which, the share of rows that are right. PCA has as many components as a code has
numbers, of training rows whose numbers are scaled to variance one and whose levels are centred ones and zeros of
variance one in all; the trivial answer is the mean, or the commonest level.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .field import Field
from .metrics import count, is_level, numbers
from .metrics.likelihood import mean_error
from .metrics.two_sample import level_name, number_word
from .models.model import Model
from .models.vectors import vectors_of
from .nn.mirror import principal
from .spec import Columns

FITTED, JUDGED = 5_000, 5_000  # training rows that components are found from; unseen rows that are rebuilt
STATES = 100  # commonest levels of a column that PCA knows
WALKED, STOPS, REACH = 8, 5, 2.0  # numbers that a walk shows, rows of each, deviations to either side
MOVED = 100  # rows that say how far each number of a code moves a row
WIDE = 12  # columns of a table of rows


# -- what is asked of a column -----------------------------------------------------------------------------------------


class Question(ABC):
    """`truth`: the answers of stored columns, float64 (n,), NaN where there is none. `features`: what PCA sees,
    (n, width), of mean zero and variance one in all over the training rows. `answer`: the one nearest to features.
    """

    field: Field
    name: str
    width: int
    trivial: float

    @abstractmethod
    def truth(self, x: Columns) -> np.ndarray: ...

    @abstractmethod
    def features(self, x: Columns) -> np.ndarray: ...

    @abstractmethod
    def answer(self, features: np.ndarray) -> np.ndarray: ...


class Value(Question):
    """Which number it is."""

    width = 1

    def __init__(self, field: Field, train: Columns) -> None:
        self.name, self.field = field.name, field
        v = self.truth(train)
        v = v[np.isfinite(v)] if np.isfinite(v).any() else np.zeros(1)
        self.trivial, self.scale, self.ends = float(v.mean()), float(v.std()) or 1.0, (v.min(), v.max())

    def truth(self, x: Columns) -> np.ndarray:
        return numbers(self.field, x)

    def features(self, x: Columns) -> np.ndarray:
        return np.nan_to_num((self.truth(x) - self.trivial) / self.scale)[:, None]

    def answer(self, features: np.ndarray) -> np.ndarray:
        near = np.clip(features[:, 0] * self.scale + self.trivial, *self.ends)
        return np.round(near) if self.field.dtype.kind == "i" else near


class State(Question):
    """Which level it is, or, of a number, whether it is missing."""

    def __init__(self, field: Field, train: Columns) -> None:
        self.field = field
        self.name = field.name if is_level(field) else f"{field.name}, missing or not"
        code = self.truth(train)
        state, seen = np.unique(code[np.isfinite(code)], return_counts=True)
        order = np.argsort(-seen, kind="stable")[:STATES]
        self.states = state[order] if len(order) else np.zeros(1)
        self.mass = seen[order] / count(train) if len(order) else np.ones(1)
        self.width, self.trivial = len(self.states), float(self.states[0])
        self.scale = float(np.sqrt(max(1 - np.square(self.mass).sum(), 1e-6)))

    def truth(self, x: Columns) -> np.ndarray:
        v = x[self.field.name]
        gone = self.field.absent(v)
        return np.where(gone & self.field.unknown, np.nan, v if is_level(self.field) else gone).astype(np.float64)

    def features(self, x: Columns) -> np.ndarray:
        v = self.truth(x)[:, None]
        return np.where(np.isnan(v), 0.0, ((v == self.states) - self.mass) / self.scale)

    def answer(self, features: np.ndarray) -> np.ndarray:
        return self.states[(features * self.scale + self.mass).argmax(1)]


def questions(fields: tuple[Field, ...], train: Columns) -> list[Question]:
    """What is asked of fields, as the training rows have them."""
    out: list[Question] = []
    for field in fields:
        out += [] if is_level(field) else [Value(field, train)]
        out += [State(field, train)] if is_level(field) or (field.has_missing and not field.unknown) else []
    return out


def _at(x: Columns, rows: Any) -> Columns:
    return {name: v[rows] for name, v in x.items()}


def _features(asked: list[Question], x: Columns) -> np.ndarray:
    return np.concatenate([question.features(x) for question in asked], 1)


# -- figures -----------------------------------------------------------------------------------------------------------


def rebuilding(model: Model, train: Columns, unseen: Columns, condition: Columns | None = None) -> dict[str, Any]:
    """What codes of unseen rows tell, as plain values: `words`, a sentence; `stands`, better or worse than PCA beyond
    two standard errors, in `level` 0 (better), 1 or 2 (worse); `columns`, the figures of each question; `walk`, rows to
    look at, none of them anybody's. condition: of the unseen rows, all of it known.
    """
    train, unseen = _at(train, slice(FITTED)), _at(unseen, slice(JUDGED))
    condition = _at(condition, slice(JUDGED)) if condition else None
    z = model.encode(unseen, condition)
    made, asked = model.express(z, condition), questions(model.spec.fields, train)
    told = model.numbers_told(z)
    linear, components = _linear(asked, train, unseen, told or z.shape[1])
    found = [
        _figures(question, unseen, question.truth(made), guess) for question, guess in zip(asked, linear, strict=True)
    ]
    words, stands, level = _words(found, z, components, told)
    words += _by_size(model, asked, train, unseen, z) if getattr(model, "nested", False) else ""
    out = {
        "words": words, "stands": stands, "level": level, "model": model.name, "pays": "bound" in model.abilities,
        "judged": len(z), "codes": z.shape[1], "components": components,
        "columns": [row for row, _ in found], "walk": {},
    }  # fmt: skip
    return out | ({"walk": _walk(model, asked, z, condition)} if z.is_floating_point() and len(z) > 1 else {})


def _linear(asked: list[Question], train: Columns, x: Columns, components: int) -> tuple[list[np.ndarray], int]:
    """What principal components answer of rows x, and how many they are."""
    learned, v = _features(asked, train), _features(asked, x)
    mean = learned.mean(0)
    axes = principal(torch.from_numpy(learned - mean), min(components, *learned.shape)).numpy()
    parts = np.split(mean + (v - mean) @ axes.T @ axes, np.cumsum([q.width for q in asked])[:-1], 1)
    return [question.answer(part) for question, part in zip(asked, parts, strict=True)], len(axes)


def _figures(question: Question, x: Columns, own: np.ndarray, linear: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    """The figures of a question, and what the model gains over PCA in each row, NaN where nothing is asked.

    A number that was rebuilt as missing counts as the mean.
    """
    truth = question.truth(x)
    there = np.isfinite(truth)
    guesses = {"own": own, "linear": linear, "trivial": np.full(len(truth), question.trivial)}
    number = isinstance(question, Value)
    row: dict[str, Any] = {"name": question.name, "kind": "number" if number else "level", "n": int(there.sum())}
    if not number:
        right = {name: np.where(there, guess == truth, np.nan) for name, guess in guesses.items()}
        shares = {name: {"right": float(v[there].mean()) if there.any() else None} for name, v in right.items()}
        return row | shares, right["own"] - right["linear"]
    off = {name: np.where(np.isnan(guess), question.trivial, guess) - truth for name, guess in guesses.items()}
    variance = float(truth[there].var()) if len(np.unique(truth[there])) > 1 else 0.0
    for name, v in off.items():
        squared = float(np.square(v[there]).mean()) if there.any() else 0.0
        row[name] = {
            "r2": 1 - squared / variance if variance else None,
            "error": float(np.abs(v[there]).mean()) if there.any() else None,
        }
    gain = np.square(off["linear"]) - np.square(off["own"])
    return row, gain / variance if variance else np.full(len(truth), np.nan)


def _by_size(model: Model, asked: list[Question], train: Columns, unseen: Columns, z: Tensor) -> str:
    """Of a nested code, R^2 of numbers (or the share of levels that are right) of its first 1, 2, 4, ... alone."""
    shown = []
    for k in (2**i for i in range(z.shape[1].bit_length()) if 2**i < z.shape[1]):
        made, (linear, _) = model.express(z[:, :k]), _linear(asked, train, unseen, k)
        rows = [_figures(q, unseen, q.truth(made), guess)[0] for q, guess in zip(asked, linear, strict=True)]
        kind, key = ("number", "r2") if any(row["kind"] == "number" for row in rows) else ("level", "right")
        some = [row for row in rows if row["kind"] == kind and row["own"][key] is not None]
        if some:
            own, other = (float(np.mean([row[who][key] for row in some])) for who in ("own", "linear"))
            shown.append(f"{k}: {own:.2f} (PCA {other:.2f})")
    return f" Its first numbers alone: {', '.join(shown)}." if shown else ""


def squared_errors(model: Model, train: Columns, x: Columns, c: Columns | None = None) -> dict[str, float]:
    """The squared error of a number of x as a vector (models/vectors.py) when rebuilt from its code, beside that of as
    many components of the training rows; nothing where codes are symbols. c: the condition, all of it known.
    """
    z, vectors = model.encode(x, c), vectors_of(model.spec)
    if (told := model.numbers_told(z)) is None or not len(z):
        return {}
    learned, v, made = (
        vectors.of(vectors.prepare(part)).flatten(1).double()
        for part in (_at(train, slice(FITTED)), x, model.express(z, c))
    )
    off = v - (mean := learned.mean(0))
    axes = principal(learned - mean, min(told, *learned.shape))
    linear = (off - off @ axes.T @ axes).square().mean()
    return {"squared error": float((v - made).square().mean()), f"squared error of PCA of {len(axes)}": float(linear)}


def _words(
    found: list[tuple[dict[str, Any], np.ndarray]], z: Tensor, components: int, numbers: int | None
) -> tuple[str, str, int]:
    """(the sentence of the summary, how it stands beside PCA, its level)."""
    told, lost, won = [], [], []
    for kind, key, form in (
        ("number", "r2", "R² {:.2f} of numbers (PCA {:.2f})"),
        ("level", "right", "{:.1%} of levels right (PCA {:.1%})"),
    ):
        some = [(row, gain) for row, gain in found if row["kind"] == kind and row["own"][key] is not None]
        if not some:
            continue
        told.append(form.format(*(float(np.mean([row[who][key] for row, _ in some])) for who in ("own", "linear"))))
        gain = np.nansum([gain for _, gain in some], 0)
        lost += [f"{kind}s"] if gain.mean() < -2 * mean_error(gain) else []
        won += [f"{kind}s"] if gain.mean() > 2 * mean_error(gain) else []
    size = f"{z.shape[1]} {'numbers' if z.is_floating_point() else 'symbols'}"
    size += f", {numbers} of them active in a row," if numbers is not None and numbers < z.shape[1] else ""
    linear = f", beside PCA of {components}" if components != z.shape[1] else ""
    if numbers is None:
        fair = "a component is a real number and a symbol a few bits, so that PCA is no measure here"
        return (
            f"{size} rebuild unseen rows: {', '.join(told) or 'nothing to rebuild'}; {fair}.",
            "no PCA is comparable",
            1,
        )
    ends = f": the model loses on {' and '.join(lost)}" if lost else ""
    words = f"{size} rebuild unseen rows{linear}: {', '.join(told) or 'nothing to rebuild'}{ends}."
    if won and lost:
        return words, f"better than PCA on {won[0]}, worse on {lost[0]}", 1
    return words, f"{'better than' if won else 'worse than' if lost else 'level with'} PCA", 1 + bool(lost) - bool(won)


# -- rows to look at ---------------------------------------------------------------------------------------------------


def _word(field: Field, v: Any) -> str:
    if is_level(field):
        return level_name(field, int(v))
    return "missing" if field.absent(np.array([v]))[0] else number_word(field, float(v))


def _cells(fields: list[Field], x: Columns, at: int) -> list[str]:
    return [_word(field, x[field.name][at]) for field in fields]


def _walk(model: Model, asked: list[Question], z: Tensor, condition: Columns | None) -> dict[str, Any]:
    """From the mean of the codes, each of the numbers that move rows most from -REACH to REACH deviations; the
    columns that these change most.
    """
    mean, deviation = z.mean(0), z.std(0, correction=0)
    few = z[:MOVED]
    under = _at(condition, slice(MOVED)) if condition else None
    moved = []
    for j in range(z.shape[1]):
        ends = []
        for sign in (-1, 1):
            code = few.clone()
            code[:, j] = mean[j] + sign * deviation[j]
            ends.append(_features(asked, model.express(code, under)))
        moved.append(np.square(ends[1] - ends[0]).mean(0))
    order = np.argsort([-part.sum() for part in moved], kind="stable")[:WALKED]
    stops = torch.linspace(-REACH, REACH, STOPS, dtype=z.dtype)
    line = mean.repeat(len(order) * STOPS, 1)
    for i, j in enumerate(order):
        line[i * STOPS : (i + 1) * STOPS, j] = mean[j] + stops * deviation[j]
    made = model.express(line, _at(condition, [0] * len(line)) if condition else None)
    fields = _changed(model.spec.fields, asked, sum(moved[j] for j in order))
    lines = [[_cells(fields, made, i * STOPS + k) for k in range(STOPS)] for i in range(len(order))]
    return {
        "columns": [field.name for field in fields], "numbers": [f"z{j}" for j in order], "stops": stops.tolist(),
        "lines": lines, "of": len(model.spec.fields),
    }  # fmt: skip


def _changed(fields: tuple[Field, ...], asked: list[Question], moved: np.ndarray) -> list[Field]:
    """The WIDE fields whose features moved most, in their own order."""
    by_name = dict.fromkeys((field.name for field in fields), 0.0)
    parts = np.split(moved, np.cumsum([q.width for q in asked])[:-1])
    for question, part in zip(asked, parts, strict=True):
        by_name[question.field.name] += float(part.sum())
    most = sorted(by_name, key=lambda name: -by_name[name])[:WIDE]
    return [field for field in fields if field.name in most]
