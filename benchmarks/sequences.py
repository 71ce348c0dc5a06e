"""Text from flows after so many CPU-minutes, beside simpler laws and published figures.

    make bench-sequences
    python benchmarks/sequences.py --runs "shakespeare, autoregressive" --minutes 30 --seeds 0

tiny Shakespeare: characters; the first 90 % are learned from, but for the last 20,000 of these, which are watched, and
the last 10 % judge: nats a character of all of it but its first 128, each told from the 128 to 255 before it.
`any_order` says a bound (8 orders), each half row of 128 told from the 128 before it.
names, sms (messages given whether they are spam): a tenth of the lines is watched and a tenth judges, nats a symbol
with the END. Beside all a Kneser-Ney law of five symbols and the frequencies of symbols (trivial).
sms: the share of drawn messages that are likelier under such a law of the label that they were drawn for than under the
other's, beside that of unseen messages (floor); half is trivial, since as many are drawn for each.
Samples: entropy of their symbols, self-BLEU, distinct and new, beside those of unseen text (floor), by temperature.
"""

from functools import partial
from typing import Any

import numpy as np
import torch

from autoencoders import DATA, HERE, fit_batches
from pofx.codecs.text import TextCodec
from pofx.codecs.text_io import Texts
from pofx.codecs.text_table import opened_texts
from pofx.metrics.gram_distance import entropy
from pofx.metrics.ngram import NGram
from pofx.metrics.repetition import self_bleu, share_distinct, share_new
from pofx.models import create
from pofx.spec import Columns
from pofx.split import parts
from record import asking, measure, spent

WIDE = {"width": 192, "heads": 3, "depth": 5}
RUNS: dict[str, tuple[str, str, dict[str, Any]]] = {  # data, model, its arguments
    "shakespeare, autoregressive": ("shakespeare", "autoregressive", {}),
    "shakespeare, autoregressive, width 192": ("shakespeare", "autoregressive", WIDE),
    "shakespeare, any_order": ("shakespeare", "any_order", {}),
    "names, autoregressive": ("names", "autoregressive", {"dropout": 0.1}),
    "names, any_order": ("names", "any_order", {"dropout": 0.1}),
    "sms, autoregressive": ("sms", "autoregressive", {"dropout": 0.1}),
}
PUBLISHED = {"shakespeare": {"transformer, 10.7 M parameters, on a GPU (nanoGPT)": 1.4697}}
WATCHED = 20_000  # characters
TEMPERATURES = (0.7, 1.0, 1.3)
DRAWN = 64  # samples
PACKAGES = ("torch",)


def texts(data: str) -> tuple[Texts, Texts, Texts]:
    """What is learned from, watched, and what judges."""
    if data == "shakespeare":
        whole = (DATA / "tiny_shakespeare" / "input.txt").read_text()
        cut = int(0.9 * len(whole))
        pieces = whole[: cut - WATCHED], whole[cut - WATCHED : cut], whole[cut:]
        return tuple(Texts((piece,), True) for piece in pieces)  # type: ignore[return-value]
    if data == "sms":
        lines, _ = opened_texts(DATA / "sms_spam" / "sms_spam.csv", column="text", label="type")
        return tuple(lines.take(part) for part in parts(len(lines), (0.8, 0.1, 0.1), 0))  # type: ignore[return-value]
    lines = Texts(tuple(filter(None, (DATA / "names" / "names.txt").read_text().split("\n"))), False)
    return tuple(lines.take(part) for part in parts(len(lines), (0.8, 0.1, 0.1), 0))  # type: ignore[return-value]


def apart(codec: TextCodec, part: Texts) -> tuple[Columns, Columns | None]:
    """(the symbols, their labels if there are any)."""
    x = codec.encode(part)
    return {"text": x["text"]}, ({codec.label: x[codec.label]} if codec.label in x else None)


def counted(codec: TextCodec, x: Columns) -> np.ndarray:
    """How many symbols of each row log p is of: a line and its END, or the second half of a row of a document."""
    return (x["text"] != 0).sum(1) + 1 if codec.ends else np.full(len(x["text"]), codec.sites // 2)


def repeats(lines: list[str], known: list[str]) -> dict[str, float]:
    new = {"new": share_new(lines, known)} if known else {}
    return new | {"entropy": entropy(lines), "self-BLEU": self_bleu(lines), "distinct": share_distinct(lines)}


def laws(codec: TextCodec, learned: Texts, unseen: Texts) -> dict[str, float]:
    """Nats a symbol of a law of five symbols and of frequencies."""

    def whole(part: Texts) -> list[np.ndarray]:
        return [np.append(codec.ids(line), [0] * codec.ends).astype(np.int32) for line in part.lines]

    told = {}
    for name, order in (("5-gram", 5), ("frequencies", 1)):
        law = NGram.learn(whole(learned), len(codec.symbols), order)
        judged = whole(unseen)
        told[name] = -sum(map(law.log_prob, judged)) / sum(map(len, judged))
    return told


def recognised(codec: TextCodec, learned: Texts, lines: list[str], labels: np.ndarray) -> float:
    """The mean over labels of the share of lines that a law of five symbols of their label makes likeliest."""
    kinds = sorted(set(np.asarray(learned.labels).tolist()))
    each: list[list[float]] = []
    for kind in kinds:
        own = [codec.ids(line) for line, of in zip(learned.lines, learned.labels, strict=True) if of == kind]
        law = NGram.learn(own, len(codec.symbols), 5)
        each.append([law.log_prob(codec.ids(line)) for line in lines])
    found = np.array(kinds)[np.argmax(each, 0)]
    return float(np.mean([(found[labels == kind] == kind).mean() for kind in kinds]))


def run(name: str, seed: int, minutes: float, device: str) -> dict[str, Any]:
    """One model."""
    data, kind, words = RUNS[name]
    learned, watched, unseen = texts(data)
    codec = TextCodec.learn(learned)
    model = create(kind, codec.spec, seed, **words)
    train, valid = (model.prepare(*apart(codec, part)) for part in (learned, watched))
    told = fit_batches(model, train, valid, minutes, seed, device)
    model.eval()
    (x, c), began = apart(codec, unseen), spent(device)
    value = -model.log_prob(x, c)
    counts = counted(codec, x)
    scoring = spent(device) - began
    known = list(learned.lines) if codec.ends else []
    drawn: dict[str, Any] = {}
    codes = np.arange(DRAWN, dtype=np.int32) % max(len(codec.levels), 1)
    asked = {codec.label: codes} if codec.levels else None
    for heat in TEMPERATURES:
        began = spent(device)
        with torch.no_grad(), model.tempered(heat):
            rows = model.decode(model.noise(DRAWN, torch.Generator().manual_seed(seed)), asked)
        seconds = spent(device) - began
        lines = [codec.text(row) for row in rows["text"]]
        drawn[str(heat)] = repeats(lines, known) | {"ms a sample": 1e3 * seconds / DRAWN, "first": lines[:3]}
        if codec.levels:
            drawn[str(heat)]["recognised"] = recognised(codec, learned, lines, codec.labels(codes))
    real = list(unseen.lines) if codec.ends else [codec.text(row) for row in x["text"][::2]]
    own = {"run": name, "seed": seed, "minutes": minutes, "nats": float(value.sum() / counts.sum()),
           "error_2se": float(2 * (value / counts).std() / len(value) ** 0.5), "symbols": int(counts.sum()),
           "parameters": sum(p.numel() for p in model.parameters()), "scoring_cpu_seconds": scoring,
           "drawn": drawn, "floor": repeats(real[:DRAWN], known)}  # fmt: skip
    if codec.levels:
        own["floor"]["recognised"] = recognised(codec, learned, real, np.asarray(unseen.labels))
    return own | laws(codec, learned, unseen) | told


def printed(rows: list[dict[str, Any]]) -> str:
    lines = ["|  | minutes | CPU s | parameters | nats a symbol | 5-gram | frequencies | entropy (floor) at .7, 1, 1.3 "
             "| self-BLEU (floor) | new (floor) | label told (floor) |", "|---|" + "---|" * 10]  # fmt: skip
    for row in rows:

        def curve(key: str, row: dict[str, Any] = row) -> str:
            if key not in row["floor"]:
                return ""
            return ", ".join(f"{d[key]:.2f}" for d in row["drawn"].values()) + f" ({row['floor'][key]:.2f})"

        lines.append(
            f"| {row['run']} | {row['minutes']:g} | {row['cpu_seconds']:,.0f} | {row['parameters']:,} "
            f"| {row['nats']:.3f} ± {row['error_2se']:.3f} | {row['5-gram']:.3f} | {row['frequencies']:.3f} "
            f"| {curve('entropy')} | {curve('self-BLEU')} | {curve('new')} | {curve('recognised')} |"
        )  # fmt: skip
    beside = [f"{data}: {who} {value}" for data, all_ in PUBLISHED.items() for who, value in all_.items()]
    return "\n".join([*lines, "", "Published: " + "; ".join(beside) + "."])


def main() -> None:
    ask = asking(__doc__, HERE / "results" / "sequences.json", gpu=True)
    ask.add_argument("--runs", nargs="+", default=list(RUNS), choices=list(RUNS))
    ask.add_argument("--minutes", type=float, default=30.0)
    told = ask.parse_args()
    torch.set_num_threads(told.threads)
    jobs = [(name, seed, told.minutes) for seed in told.seeds for name in told.runs]
    measure(told, ("run", "seed", "minutes"), jobs, partial(run, device=told.device), printed, PACKAGES)


if __name__ == "__main__":
    main()
