"""What of examples is judged: rows, images, sounds and lines whole; of documents and of music, windows. And examples of
what knows least (`trivial`), which samples are held against.
"""

import math

import numpy as np

from ..codecs.pieces import HELD, PITCHES, STRUCK
from ..fields import Note, Token, Voice
from ..metrics import count
from ..metrics.features import LEARNED, pixels, shape_of
from ..metrics.runs import MOST, runs, step_symbols
from ..spec import Columns, Spec

SYMBOLS, STEPS = 32, 16  # of a window of a document, and of music
FEW, LAW = 200, 40_000_000  # images that the law of pixels is of at least, and numbers of them


def whole(spec: Spec) -> bool:
    """Whether examples are judged whole."""
    field = spec.fields[0]
    return not isinstance(field, Note | Voice) and (not isinstance(field, Token) or field.ends)


def excerpts(spec: Spec, x: Columns, most: int, rng: np.random.Generator) -> tuple[Columns, np.ndarray]:
    """What is judged of examples, and which of them each is of, (m,): of windows at most `most` of each example, by
    chance. Windows of music are rolls, uint8 (m, STEPS, 128) of 0, HELD and STRUCK.
    """
    if whole(spec):
        return x, np.arange(count(x))
    field = spec.fields[0]
    if isinstance(field, Note | Voice):
        parts = [_windows(roll_of(field, row)) for row in x[field.name]]
    else:
        wide = min(SYMBOLS, x[field.name].shape[1])
        end = x[field.name].shape[1] // wide * wide
        parts = [row[:end].reshape(-1, wide) for row in x[field.name]]
    parts = [p if len(p) <= most else p[np.sort(rng.permutation(len(p))[:most])] for p in parts]
    owner = np.repeat(np.arange(len(parts)), [len(p) for p in parts])
    blank = np.zeros((0, STEPS, PITCHES), np.uint8)
    others = {k: v[owner] for k, v in x.items() if k != field.name}
    return {field.name: np.concatenate(parts) if parts else blank} | others, owner


def apart(spec: Spec, x: Columns) -> np.ndarray:
    """The numbers of examples that share nothing: of rows of a document, which overlap by half, every second one."""
    field = spec.fields[0]
    if not isinstance(field, Token) or field.ends:
        return np.arange(count(x))
    half, last, kept = x[field.name].shape[1] // 2, None, []
    for i, row in enumerate(x[field.name]):
        if last is None or not np.array_equal(row[:half], last[half:]):
            kept.append(i)
            last = row
    return np.array(kept, np.int64)


def symbols_of(x: np.ndarray) -> np.ndarray:
    """The symbols of what is judged, (n, T): codes, or hashes of the steps of rolls."""
    return step_symbols(x) if x.ndim == 3 else x


def hashes_of(spec: Spec, x: Columns) -> np.ndarray:
    """A hash of each excerpt, (n,)."""
    told = symbols_of(x[spec.fields[0].name])
    return runs(told, told.shape[1])[:, 0]


def all_runs(spec: Spec, x: Columns) -> np.ndarray:
    """Hashes of all runs of whole examples that an excerpt could be, wherever it begins; MOST of them."""
    field = spec.fields[0]
    rows = x[field.name]
    if whole(spec):
        return hashes_of(spec, {field.name: rows[:MOST]})
    if not isinstance(field, Note | Voice):
        rows = rows[: MOST // rows.shape[1]]
        return runs(rows, min(SYMBOLS, rows.shape[1])).ravel()
    out, told = [np.zeros(0, np.uint64)], 0
    for row in rows:
        roll = roll_of(field, row)
        out.append(runs(step_symbols(np.pad(roll, ((0, max(STEPS - len(roll), 0)), (0, 0)))), STEPS))
        told += len(out[-1])
        if told > MOST:
            break
    return np.concatenate(out)


# -- music -------------------------------------------------------------------------------------------------------------


def roll_of(field: Note | Voice, row: np.ndarray) -> np.ndarray:
    """What codes (T,) sound up to their END, uint8 (steps, 128): 0, HELD or STRUCK; a voice that repeats is held."""
    codes = row[: int((row == 0).argmax())] if (row == 0).any() else row
    if isinstance(field, Voice):
        lines = codes[: len(codes) // field.voices * field.voices].reshape(-1, field.voices)
        step, voice = np.nonzero(lines > 1)
        again = (step > 0) & (lines[step - 1, voice] == lines[step, voice])
        pitch = lines[step, voice] - 2 + int(field.levels[2])
        steps = len(lines)
    else:
        at = np.cumsum(codes == 1) - (codes == 1)
        note = codes > 1
        kind, below = np.divmod(codes[note] - 2, field.pitches)
        step, again, pitch = at[note], kind == 1, int(field.levels[2]) - below
        steps = int(at[-1]) + 1 if len(at) else 0
    roll = np.zeros((steps, PITCHES), np.uint8)
    roll[step, pitch] = np.where(again, HELD, STRUCK)
    return roll


def _windows(roll: np.ndarray) -> np.ndarray:
    """A roll in windows of STEPS, (k, STEPS, 128); a rest of less than half is left out, but where it is all."""
    rest = len(roll) % STEPS
    if len(roll) > STEPS and rest < STEPS / 2:
        roll = roll[: len(roll) - rest]
    roll = np.pad(roll, ((0, max(STEPS, -(-len(roll) // STEPS) * STEPS) - len(roll)), (0, 0)))
    return roll.reshape(-1, STEPS, PITCHES)


# -- what knows least --------------------------------------------------------------------------------------------------


def trivial(spec: Spec, train: Columns, n: int, rng: np.random.Generator) -> Columns:
    """n of what knows least, of excerpts: columns drawn alone beside a true condition; a normal law of all pixels;
    lines as long as training ones, of symbols drawn alone; rolls whose notes sound in each step by themselves; sounds
    whose levels are drawn alone, each of its own frame and frequency: noise with their spectrum.
    """
    c = spec.condition.fields if spec.condition else ()
    rows = rng.integers(0, count(train), n)
    under = {f.name: train[f.name][rows] for f in c}
    kind, field = shape_of(spec), spec.fields[0]
    if kind == "rows":
        return {f.name: train[f.name][rng.integers(0, count(train), n)] for f in spec.fields} | under
    if kind == "images":
        return _normal_pixels(spec, train, n, rng) | under
    x = train[field.name]
    if kind == "sounds":
        return {field.name: np.stack([_cells(x, rng) for _ in range(n)])} | under
    if kind == "rolls":
        steps = rng.integers(0, x.shape[1], (n, x.shape[1], x.shape[2]))
        return {field.name: x[rng.integers(0, len(x), steps.shape), steps, np.arange(x.shape[2])]} | under
    symbols, like = x.ravel(), x[rows]
    symbols = symbols[symbols > 0] if _ends(spec) else symbols
    made = symbols[rng.integers(0, max(len(symbols), 1), like.shape)] if len(symbols) else like
    return {field.name: np.where(like > 0, made, 0) if _ends(spec) else made} | under


def _ends(spec: Spec) -> bool:
    field = spec.fields[0]
    return isinstance(field, Token) and field.ends


def _cells(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each cell of any one of x, (n, T, F), drawn by itself."""
    frames, bins = x.shape[1:]
    return x[rng.integers(0, len(x), (frames, bins)), np.arange(frames)[:, None], np.arange(bins)]


def _normal_pixels(spec: Spec, train: Columns, n: int, rng: np.random.Generator) -> Columns:
    size = math.prod(train[spec.fields[0].name].shape[1:]) * len(spec.fields)
    v = pixels(spec, {k: part[: min(LEARNED, max(FEW, LAW // size))] for k, part in train.items()})
    flat = v.reshape(len(v), -1)
    draws = rng.normal(size=(n, len(flat))).astype(np.float32)
    made = flat.mean(0) + draws @ (flat - flat.mean(0)) / np.float32(np.sqrt(len(flat)))
    top = float(getattr(spec.fields[0], "top", 255))
    shades = np.rint((made.reshape(n, *v.shape[1:]) + 1) / 2 * top).clip(0, top).astype(np.uint8)
    return {f.name: shades[:, i] for i, f in enumerate(spec.fields)}
