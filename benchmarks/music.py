"""Music from flows after so many CPU-minutes, beside simpler laws and published figures.

    make bench-music
    python benchmarks/music.py --runs "jsb quarter, autoregressive" --minutes 10 --seeds 0

JSB chorales, the split of Boulanger-Lewandowski et al. 2012 (229, 76, 77 pieces). Chords of quarter notes: nats a step
of the test pieces with the END of each and without, beside a Kneser-Ney law of five codes and independent pitches.
Voices: 16th notes (or quarter notes), a bound of nats a step of all voices, and of the last three given the soprano
(mean of 8 orders), beside laws of each voice by itself: of five notes, of repeats, of frequencies.
Samples: how they sound, beside training and test pieces (floor). Segments: of 16 steps, into which pieces are cut; of
vae a bound by importance of 16 codes, what is halfway between two test segments, and the share of what sounds in a test
segment or in what its code stands for that sounds in both, beside that of the code of another one; KL of q from the
prior and what the codes of other segments cost, nats a segment.
"""

import time
from typing import Any

import numpy as np
import torch

from autoencoders import DATA, HERE, fit_batches
from pofx.codecs.music import MUSIC, MusicCodec
from pofx.codecs.music_io import read_pieces
from pofx.codecs.pieces import Piece, Pieces
from pofx.codecs.voices import VoicesCodec
from pofx.evaluate_music import evaluate_voices
from pofx.fitted_voices import given_first, harmonised
from pofx.metrics.chords import FIGURES, Independent, key_distance, share_known
from pofx.metrics.ngram import NGram
from pofx.models import create
from record import asking, measure

CSV = "jsb_chorales_csv.tgz"
QUARTER = "jsb-chorales-quarter.json"
RUNS: dict[str, tuple[str, int, str, dict[str, Any]]] = {  # data, steps of a quarter note, model, its arguments
    "jsb quarter, autoregressive": (QUARTER, 1, "autoregressive", {}),
    "jsb quarter, segments, autoregressive": (QUARTER, 1, "autoregressive", {}),
    "jsb quarter, segments, vae": (QUARTER, 1, "vae", {}),
    "jsb voices, any_order": (CSV, 4, "any_order", {}),
    "jsb voices, quarter, any_order": (CSV, 1, "any_order", {"context": 32}),
}
PUBLISHED = {"RNN-RBM": 6.27, "RNN-NADE": 5.56, "LSTM, independent pitches": 8.45, "TCN, independent pitches": 8.10}
SEGMENT = 16  # steps
DRAWN, HARMONIES = 77, 16  # samples of notes, and of voices
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
    ends, coded = None, "encode" in model.abilities
    if coded:
        value = -model.log_prob({MUSIC: x.numpy()})
    else:
        with torch.no_grad():
            terms = torch.cat([model._terms(part) for part in x.split(8)]).double().numpy()
        value, ends = -terms.sum(1), -np.where(x.numpy() == 0, terms, 0.0).sum(1)
    scoring = time.process_time() - began
    steps = np.array([len(piece) for piece in unseen.pieces])
    gram, alone = NGram.learn(codes[0], len(codec.field.levels)), Independent(rolls_of(learned))
    began = time.process_time()
    with torch.no_grad():
        drawn: list[Piece] = codec.decode(model.decode(model.noise(DRAWN, torch.Generator().manual_seed(seed)))).pieces
    drawing = (time.process_time() - began) / DRAWN
    rolls = {"drawn": rolls_of(Pieces(tuple(drawn))), "training": rolls_of(learned), "unseen (floor)": rolls_of(unseen)}
    told, more = codes_told(model, codec, unseen) if coded else ({}, {})
    rolls |= more
    if ends is not None:
        told["nats_without_end"] = float((value - ends).sum() / steps.sum())
    return told | {
        "nats": float(value.sum() / steps.sum()),
        "error_2se": float(2 * (value / steps).std(ddof=1) / len(steps) ** 0.5),
        "beside": {
            "5-gram": -sum(map(gram.log_prob, codes[1])) / float(steps.sum()),
            "independent pitches": -sum(map(alone.log_prob, rolls_of(unseen))) / float(steps.sum()),
        },
        "steps_scored": int(steps.sum()), "scoring_cpu_seconds": scoring, "ms_a_sample": 1e3 * drawing,
        "sound": {name: sound(held, rolls["training"], rolls["unseen (floor)"]) for name, held in rolls.items()},
    }  # fmt: skip


def codes_told(model: Any, codec: MusicCodec, unseen: Pieces) -> tuple[dict[str, Any], dict[str, list[np.ndarray]]]:
    """What codes keep of segments, and how what they stand for sounds."""
    z = model.encode(codec.encode(unseen))
    made = rolls_of(codec.decode(model.express(z)))
    halfway = rolls_of(codec.decode(model.express((z + z.roll(1, 0)) / 2)))

    def kept(rolls: list[np.ndarray]) -> float:
        sizes = [min(len(a), len(b.roll)) for a, b in zip(rolls, unseen.pieces, strict=True)]
        pairs = [(a[:n], b.roll[:n] > 0) for a, b, n in zip(rolls, unseen.pieces, sizes, strict=True)]
        return float(sum((a & b).sum() for a, b in pairs) / sum((a | b).sum() for a, b in pairs))

    told = {"kept": kept(made), "kept_of_another": kept([*made[1:], made[0]])} | model.remarks(codec.encode(unseen))
    return told, {"reconstructed": made, "halfway": halfway}


def voices(model: Any, codec: VoicesCodec, seed: int, parts: list[Pieces]) -> dict[str, Any]:
    """What is told of a model of voices."""
    learned, _, unseen = parts
    x, began = codec.encode(unseen), time.process_time()
    whole, rest = -model.log_prob(x), -given_first(model, x[MUSIC], seed)
    scoring = time.process_time() - began
    few = unseen.take(range(min(HARMONIES, len(unseen))))
    began = time.process_time()
    made = harmonised(model, codec, few, seed)
    drawing = (time.process_time() - began) / len(few)
    noise = model.noise(len(few), torch.Generator().manual_seed(seed))
    drawn = codec.decode(model.decode(noise))
    rolls = {"drawn": drawn, "harmonised": made, "learned": learned, "unseen": unseen}
    lines = [[piece.lines for piece in part.pieces] for part in (learned, unseen)]
    told = evaluate_voices(whole, rest, *lines, {name: rolls_of(held) for name, held in rolls.items()})
    (value, error), (given, given_error), *_ = told.nats.values()
    nats = dict(list(told.nats.items())[2:])
    return {
        "nats": value, "error_2se": 2 * error, "given_first": given, "given_first_2se": 2 * given_error,
        "given_first_a_note": given / (codec.voices - 1), "beside": {name: mean for name, (mean, _) in nats.items()},
        "steps_scored": told.rows["steps"], "scoring_cpu_seconds": scoring, "ms_a_sample": 1e3 * drawing,
        "sound": told.sound,
    }  # fmt: skip


def run(name: str, seed: int, minutes: float) -> dict[str, Any]:
    """One model."""
    source, grid, kind, words = RUNS[name]
    parts = split(read_pieces(JSB / source, grid=grid)[0])
    if "segments" in name:
        parts = [part.cut(SEGMENT) for part in parts]
    codec: Any = (VoicesCodec if parts[0].voices and kind == "any_order" else MusicCodec).learn(parts[0])
    model = create(kind, codec.spec, seed, **words)
    train, valid = (model.prepare(codec.encode(part)) for part in parts[:2])
    told = fit_batches(model, train, valid, minutes, seed)
    model.eval()
    own = {"run": name, "seed": seed, "minutes": minutes, "parameters": sum(p.numel() for p in model.parameters())}
    judge = voices if isinstance(codec, VoicesCodec) else notes
    return own | judge(model, codec, seed, parts) | told


def printed(rows: list[dict[str, Any]]) -> str:
    lines = ["|  | minutes | seed | CPU s | steps | parameters | nats a step | without END | given the soprano "
             "| a note | codes keep (another's) | beside |", "|---|" + "---|" * 11]  # fmt: skip

    def part(row: dict[str, Any], key: str) -> str:
        return f"{row[key]:.3f}" if key in row else ""

    for row in rows:
        beside = ", ".join(f"{name} {value:.3f}" for name, value in row["beside"].items())
        kept = f"{row['kept']:.3f} ({row['kept_of_another']:.3f})" if "kept" in row else ""
        kept += (
            f", KL {row['divergence']:.1f}, others cost {row['cost of other codes']:.1f}" if "divergence" in row else ""
        )
        lines.append(
            f"| {row['run']} | {row['minutes']:g} | {row['seed']} | {row['cpu_seconds']:,.0f} | {row['steps']:,} "
            f"| {row['parameters']:,} | {row['nats']:.3f} ± {row['error_2se']:.3f} "
            f"| {part(row, 'nats_without_end')} | {part(row, 'given_first')} | {part(row, 'given_first_a_note')} "
            f"| {kept} | {beside} |"
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
