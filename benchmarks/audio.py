"""Sounds drawn by a flow in the codes of an autoencoder of spectra, and restored by it, after so many CPU-minutes.

    python benchmarks/audio.py --minutes 40 --seeds 0
    python benchmarks/audio.py --data drums --minutes 4 --drawn 10

The model of `pofx fit recordings/` (flow_matching of sounds) learns p(sound | label) in one process. fsdd: the Free
Spoken Digit Dataset, judged on its test clips, indices 0 to 4 of each speaker and digit. drums: 123 one-shots of eight
classes, the beginnings of their names; of each class a fifth, another for each seed, is judged by, and recognisers are
five, each learned without one of the fifths: real clips are judged by the one that has not seen them, samples by all.
Sounds are judged as written and read again:

- for each guidance, 500 samples, 50 of a digit: kernel distance from test clips in two spaces (evaluate_audio.py), with
  training clips in the place of samples (the floor) and white noise (trivial); the share that a recogniser, trained
  here on real clips, finds to be of the digit asked for, beside that of real test clips;
- test clips rebuilt by the autoencoder: the same share, the kernel distance, and the distance of several transforms
  from what was said, with Griffin-Lim of the true magnitudes as its floor;
- CPU-seconds of a second of sampled sound;
- noise taken off, and high frequencies given (audio_restored.py).
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import audio_restored
from autoencoders import DATA, HERE, fit_batches
from pofx.codecs.audio import LEVEL, AudioCodec
from pofx.codecs.audio_io import Sounds, read_sounds
from pofx.codecs.image import LABEL
from pofx.evaluate_audio import Recogniser, distances, far, hiss, spaces_of
from pofx.models import create
from record import asking, measure

PATTERN = {"fsdd": "{label}_{speaker}_{index}.wav", "drums": "{label}_{name}.flac"}
SOURCE = {"fsdd": "fsdd/recordings.zip", "drums": "audio_oneshots"}
SECONDS = {"fsdd": None, "drums": 1.0}  # of an example
GUIDANCE = (1.0, 1.25, 1.5, 2.0, 3.0)
VALID = 150  # clips that a fit is watched on, at most a tenth
TESTED = 5  # indices of a speaker's digit that are for the test
FOLDS = 5
RESTORED = {"fsdd": 15, "drums": 25}  # clips that are restored, at most
PACKAGES = ("torch", "soundfile")


def loaded(data: str) -> tuple[Sounds, np.ndarray]:
    """(sounds, the fold of each); those of fsdd are 0 for the test, else 1."""
    sounds, _ = read_sounds(DATA / SOURCE[data], pattern=PATTERN[data])
    if data == "fsdd":
        index = np.array([int(name.rpartition("_")[2].partition(".")[0]) for name in sounds.names])
        return sounds, (index >= TESTED).astype(int)
    labels, folds = np.array([Path(name).name.partition("_")[0] for name in sounds.names]), np.zeros(len(sounds), int)
    order = np.random.default_rng(0).permutation(len(sounds))
    order = order[np.argsort(labels[order], kind="stable")]
    folds[order] = np.arange(len(sounds)) % FOLDS
    return sounds, folds


def recognisers(codec: AudioCodec, sounds: Sounds, folds: np.ndarray, seed: int) -> tuple[list[Recogniser], np.ndarray]:
    """A recogniser for each fold, learned without it; and whether it recognises each of its sounds."""
    x, nets, right = codec.encode(sounds), [], np.zeros(len(sounds), bool)
    for fold in range(FOLDS):
        own = folds == fold
        nets.append(Recogniser.learn(x[LEVEL][~own], x[LABEL][~own], seed))
        right[own] = nets[-1].labels(x[LEVEL][own]) == x[LABEL][own]
    return nets, right


def again(codec: AudioCodec, sounds: Sounds) -> np.ndarray:
    """The levels of sounds as they would be read."""
    return codec.encode(sounds)[LEVEL]


def run(data: str, seed: int, minutes: float, drawn: int) -> dict[str, Any]:
    sounds, folds = loaded(data)
    tested = folds == (0 if data == "fsdd" else seed % FOLDS)
    learned, judged = (sounds.take(np.flatnonzero(part)) for part in (~tested, tested))
    codec = AudioCodec.learn(learned, seconds=SECONDS[data])
    x, test = codec.encode(learned), codec.encode(judged)
    order = np.random.default_rng(seed).permutation(len(learned))
    cut = min(VALID, len(order) // 10)
    valid, train = ({k: v[rows] for k, v in x.items()} for rows in (order[:cut], order[cut:]))
    model = create("flow_matching", codec.spec, seed)
    row: dict[str, Any] = {"data": data, "seed": seed, "minutes": minutes, "drawn": drawn}
    for name, stage, share in model.stages():
        batches = [stage.prepare({LEVEL: part[LEVEL]}, {"label": part["label"]}) for part in (train, valid)]
        told = fit_batches(stage, *batches, minutes * share, seed)
        stage.eval()
        row |= {f"{name} {k}": told[k] for k in ("steps", "cpu_seconds", "ms_a_step", "validation")}
    row["cpu_seconds"] = sum(v for k, v in row.items() if k.endswith(" cpu_seconds"))
    row["parameters"] = sum(p.numel() for p in model.parameters())

    spaces, net = spaces_of(codec, train, seed)
    hissing = hiss(codec, len(judged), seed)
    noise = again(codec, hissing)
    nets = [net]
    row["accuracy real"] = float((net.labels(test[LEVEL]) == test["label"]).mean())
    if data == "drums":
        nets, right = recognisers(codec, sounds, folds, seed)
        row["accuracy real"] = float(right.mean())
        row |= {f"accuracy of {k}, real": float(right[sounds.labels == k].mean()) for k in codec.levels}

    classes = len(codec.levels)
    asked = np.arange(drawn * classes, dtype=np.int32) % classes
    z = model.noise(len(asked), torch.Generator().manual_seed(seed + 1))
    for w in GUIDANCE:
        began = time.process_time()
        with model.solved(guidance=w):
            made = codec.decode(model.decode(z, {"label": asked}))
        spent = time.process_time() - began
        levels = again(codec, made)
        row[f"cpu_seconds a second, guidance {w:g}"] = spent / made.seconds
        right = np.mean([net.labels(levels) == asked for net in nets], 0)
        row[f"accuracy, guidance {w:g}"] = float(right.mean())
        if data == "drums":
            row |= {
                f"accuracy of {k}, guidance {w:g}": float(right[asked == i].mean()) for i, k in enumerate(codec.levels)
            }
        for space, told in distances(spaces, levels, train[LEVEL], test[LEVEL], noise, seed).items():
            row[f"{space}, guidance {w:g}"] = told.pop("samples")
            row |= {f"{space}, {k}": v for k, v in told.items()}

    rebuilt = codec.decode(model.express(model.encode(test)))
    levels = again(codec, rebuilt)
    row["accuracy rebuilt"] = float((net.labels(levels) == test["label"]).mean())
    for space, told in distances(spaces, levels, train[LEVEL], test[LEVEL], noise, seed).items():
        row[f"{space}, rebuilt"] = told["samples"]
    floor = codec.decode(test)
    pairs = {"rebuilt": rebuilt, "true magnitudes": floor, "noise": hissing}
    for name, made in pairs.items():
        row[f"spectral distance, {name}"] = float(
            np.mean([far(*p, codec.samples, codec.window) for p in zip(judged.clips, made.clips, strict=True)])
        )
    some = judged.take(np.arange(0, len(judged), -(-len(judged) // RESTORED[data])))
    return row | {"restored": audio_restored.figures(model, codec, learned, some, seed)}


def printed(rows: list[dict[str, Any]]) -> str:
    """A line for each run and guidance."""
    head = ["", "CPU s", "accuracy (real)", "kernel distance, recogniser (floor, trivial)"]
    head += ["kernel distance, cepstra (floor, trivial)", "CPU s a second"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        name = f"{row['data']}, {row['minutes']:g} min, seed {row['seed']}"
        row = row | {"accuracy, rebuilt": row["accuracy rebuilt"]}
        for w in [key.removeprefix("accuracy, ") for key in row if key.startswith("accuracy, ")]:
            found = row[f"accuracy, {w}"]
            cells = [f"{row['cpu_seconds']:.0f}", f"{found:.3f} ({row['accuracy real']:.3f})"]
            for space in ("recogniser", "cepstra"):
                beside = ", ".join(
                    f"{row[f'{space}, {k}']:.4g}" for k in ("training sounds (floor)", "noise (trivial)")
                )
                cells.append(f"{row[f'{space}, {w}']:.4g} ({beside})")
            cells.append(f"{row.get(f'cpu_seconds a second, {w}', float('nan')):.2f}")
            lines.append(f"| {name}, {w} | " + " | ".join(cells) + " |")
        told = [f"{k} {row[f'spectral distance, {k}']:.3f}" for k in ("rebuilt", "true magnitudes", "noise")]
        lines.append(f"| {name}, spectral distance | " + ", ".join(told) + " |" * (len(head) - 1))
        if own := [key for key in row if key.startswith("accuracy of ") and key.endswith(", real")]:
            classes = [key.removeprefix("accuracy of ").removesuffix(", real") for key in own]
            told = [
                f"{k} {row[f'accuracy of {k}, guidance 1.5']:.2f} ({row[f'accuracy of {k}, real']:.2f})"
                for k in classes
            ]
            lines.append(
                f"| {name}, guidance 1.5, accuracy of each (real) | " + ", ".join(told) + " |" * (len(head) - 1)
            )
        for k, v in row.get("restored", {}).items():
            lines.append(f"| {name}, {k} | {v:.2f}" + " |" * (len(head) - 1))
    return "\n".join(lines)


def main() -> None:
    ask = asking(__doc__, HERE / "results" / "audio.json")
    ask.set_defaults(data=["fsdd"], seeds=[0])
    ask.add_argument("--minutes", type=float, default=40.0)
    ask.add_argument("--drawn", type=int, default=50, help="samples of a digit for each guidance")
    told = ask.parse_args()
    torch.set_num_threads(told.threads)
    jobs = [(data, seed, told.minutes, told.drawn) for seed in told.seeds for data in told.data]
    measure(told, ("data", "seed", "minutes", "drawn"), jobs, run, printed, PACKAGES)


if __name__ == "__main__":
    main()
