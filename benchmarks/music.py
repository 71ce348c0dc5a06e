"""Music from flows after so many CPU-minutes, beside simpler laws and published figures.

    make bench-music
    python benchmarks/music.py --runs "jsb quarter, autoregressive" --minutes 10 --seeds 0

JSB chorales, the split of Boulanger-Lewandowski et al. 2012 (229, 76, 77 pieces). Chords of quarter notes: nats a step
of the test pieces with the END of each and without, beside a Kneser-Ney law of five codes and independent pitches.
Samples: how they sound, beside training and test pieces (floor).
"""

import time
from typing import Any

import numpy as np
import torch

from autoencoders import DATA, HERE, fit_batches
from pofx.codecs.music import MUSIC, MusicCodec
from pofx.codecs.music_io import read_pieces
from pofx.codecs.pieces import Piece, Pieces
from pofx.metrics.chords import FIGURES, Independent, key_distance, share_known
from pofx.metrics.ngram import NGram
from pofx.models import create
from record import asking, measure

RUNS: dict[str, tuple[str, dict[str, Any]]] = {"jsb quarter, autoregressive": ("autoregressive", {})}
PUBLISHED = {"RNN-RBM": 6.27, "RNN-NADE": 5.56, "LSTM, independent pitches": 8.45, "TCN, independent pitches": 8.10}
DRAWN = 77  # samples
PACKAGES = ("torch",)
JSB = DATA / "jsb_chorales"


def split(pieces: Pieces) -> list[Pieces]:
    """What is learned from, watched, and what judges: as the files say."""
    assert pieces.part is not None
    return [pieces.take(np.flatnonzero(pieces.part == part)) for part in range(3)]


def sound(rolls: list[np.ndarray], learned: list[np.ndarray], unseen: list[np.ndarray]) -> dict[str, float]:
    """Figures of rolls."""
    own = {name: of(rolls) for name, of in FIGURES.items()}
    return {"pitch classes": key_distance(rolls, unseen)} | own | {"known runs": share_known(rolls, learned)}


def rolls_of(pieces: Pieces) -> list[np.ndarray]:
    return [piece.roll > 0 for piece in pieces.pieces]


def notes(model: Any, codec: MusicCodec, seed: int, parts: list[Pieces]) -> dict[str, Any]:
    """What is told of a model of notes: likelihood of the test pieces and samples."""
    learned, _, unseen = parts
    codes = [[row[: int((row != 0).sum()) + 1] for row in codec.encode(part)[MUSIC]] for part in (learned, unseen)]
    x, began = torch.from_numpy(codec.encode(unseen)[MUSIC]).long(), time.process_time()
    with torch.no_grad():
        terms = torch.cat([model._terms(part) for part in x.split(8)]).double().numpy()
    scoring = time.process_time() - began
    steps = np.array([len(piece) for piece in unseen.pieces])
    value, ends = -terms.sum(1), -np.where(x.numpy() == 0, terms, 0.0).sum(1)
    gram, alone = NGram.learn(codes[0], len(codec.field.levels)), Independent(rolls_of(learned))
    began = time.process_time()
    with torch.no_grad():
        drawn: list[Piece] = codec.decode(model.decode(model.noise(DRAWN, torch.Generator().manual_seed(seed)))).pieces
    drawing = (time.process_time() - began) / DRAWN
    rolls = {"drawn": rolls_of(Pieces(tuple(drawn))), "training": rolls_of(learned), "unseen (floor)": rolls_of(unseen)}
    return {
        "nats": float(value.sum() / steps.sum()),
        "error_2se": float(2 * (value / steps).std(ddof=1) / len(steps) ** 0.5),
        "nats_without_end": float((value - ends).sum() / steps.sum()),
        "beside": {
            "5-gram": -sum(map(gram.log_prob, codes[1])) / float(steps.sum()),
            "independent pitches": -sum(map(alone.log_prob, rolls_of(unseen))) / float(steps.sum()),
        },
        "steps_scored": int(steps.sum()), "scoring_cpu_seconds": scoring, "ms_a_sample": 1e3 * drawing,
        "sound": {name: sound(held, rolls["training"], rolls["unseen (floor)"]) for name, held in rolls.items()},
    }  # fmt: skip


def run(name: str, seed: int, minutes: float) -> dict[str, Any]:
    """One model."""
    kind, words = RUNS[name]
    parts = split(read_pieces(JSB / "jsb-chorales-quarter.json")[0])
    codec = MusicCodec.learn(parts[0])
    model = create(kind, codec.spec, seed, **words)
    train, valid = (model.prepare(codec.encode(part)) for part in parts[:2])
    told = fit_batches(model, train, valid, minutes, seed)
    model.eval()
    own = {"run": name, "seed": seed, "minutes": minutes, "parameters": sum(p.numel() for p in model.parameters())}
    return own | notes(model, codec, seed, parts) | told


def printed(rows: list[dict[str, Any]]) -> str:
    lines = ["|  | minutes | seed | CPU s | steps | parameters | nats a step | without END | beside |",
             "|---|" + "---|" * 8]  # fmt: skip
    for row in rows:
        beside = ", ".join(f"{name} {value:.3f}" for name, value in row["beside"].items())
        lines.append(
            f"| {row['run']} | {row['minutes']:g} | {row['seed']} | {row['cpu_seconds']:,.0f} | {row['steps']:,} "
            f"| {row['parameters']:,} | {row['nats']:.3f} ± {row['error_2se']:.3f} "
            f"| {row['nats_without_end']:.3f} | {beside} |"
        )
    for row in rows:
        names = list(row["sound"]["drawn"])
        lines += ["", f"| {row['run']}, seed {row['seed']} | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
        lines += [f"| {key} | " + " | ".join(f"{v:.3f}" for v in told.values()) + " |"
                  for key, told in row["sound"].items()]  # fmt: skip
    beside = "; ".join(f"{who} {value}" for who, value in PUBLISHED.items())
    return "\n".join([*lines, "", f"Published, nats a step of quarter notes: {beside}."])


def main() -> None:
    ask = asking(__doc__, HERE / "results" / "music.json")
    ask.add_argument("--runs", nargs="+", default=list(RUNS), choices=list(RUNS))
    ask.add_argument("--minutes", type=float, default=10.0)
    told = ask.parse_args()
    torch.set_num_threads(told.threads)
    jobs = [(name, seed, told.minutes) for seed in told.seeds for name in told.runs]
    measure(told, ("run", "seed", "minutes"), jobs, run, printed, PACKAGES)


if __name__ == "__main__":
    main()
