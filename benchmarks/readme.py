"""Writes docs/figures.md, and what stands under "How good" of the README, from the JSON files of benchmarks/results.

python benchmarks/readme.py
"""

import json
import statistics
from collections.abc import Callable
from typing import Any

import audio
import autoencoder_peers
import autoencoder_tables
import autoencoders
import completion
import constraints
import denoising
import gan_images
import gans
import going_on
import guard
import images
import music
import privacy
import restore
import scale
import sequence_peers
import sequences
import several_tables
import small
import stacked_mnist
from density import SETS, budget
from tables import COLUMNS, HERE, Row, cell

README, PAGE, RESULTS = HERE.parent / "README.md", HERE.parent / "docs" / "figures.md", HERE / "results"
BEGIN, END = "## How good\n", "## More\n"
TITLES = {
    "adult": "**Adult** (32,561 rows)",
    "adult_peers": "**Adult, the split of published samples** (24,403 rows)",
    "california_housing": "**California housing** (18,576 rows; use is an RMSE)",
    "bank_marketing": "**Bank marketing** (40,689 rows)",
    "default_credit": "**Default of credit cards** (27,000 rows)",
}
SHOWN = {
    "fit_cpu_seconds": "CPU s",
    "score_train": "two-sample score",
    "auc_unseen": "AUC, unseen",
    "shape": "Shape",
    "trend_common": "Trend",
    "use": "use",
    "closer": "closer",
    "nats": "nats",
}
INTRO = """
Measured by `make bench-tables` ({processor}, {threads} threads, torch {torch}, xgboost {xgboost}), a minute a
fit unless said otherwise: medians over seeds ± half their range, by the same code on the same machine; all
figures: [benchmarks/results](../benchmarks/results/tables.md). *Two-sample score*: 2 - 2 AUC of gradient boosting
that tells synthetic from training rows (1: it cannot); *AUC, unseen*: the same against rows never trained on;
*Shape* and *Trend*: single columns and pairs (common bins); *use*: AUC on real unseen rows of a model trained
on synthetic ones; *closer*: share of rows nearer to a training row than to an unseen one (.5 is chance);
*nats*: held-out log-likelihood of a row. The line *real unseen rows* is the ceiling. Shape and Trend equal the
SDMetrics package's (`make bench-sdmetrics`).

"""
OLDER = """The lines of `realnvp` are of its network with SiLU; it has ReLU now. Those of `vae` are of a standard normal
prior; its default is a learned one now. Those of `gan` are older than those of the next run.

"""


def table(name: str, rows: list[Row]) -> str:
    """One table: the ceiling, then the best two-sample score first."""
    forms = {key: form for _, key, form in COLUMNS} | {"use": "{:,.0f}" if name == "california_housing" else "{:.3f}"}
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row["table"] == name and "error" not in row:
            minutes = "" if row.get("minutes") in (None, 1.0) else f", {row['minutes']:g} minutes"
            label = f"`{row['model']}`{minutes}" if row["by"] == "pofx" else row["model"]
            mark = {"published": " (published sample)", "peer": " (ctgan package)"}.get(row["by"], "")
            groups.setdefault((row["by"], label + mark), []).append(row)
    first = {key: statistics.median([row["score_train"] for row in group]) for key, group in groups.items()}
    lines = [TITLES[name], "", "| | seeds | " + " | ".join(SHOWN.values()) + " |", "|---|---|" + "---|" * len(SHOWN)]
    for key in sorted(groups, key=lambda key: (key[0] != "data", -first[key])):
        cells = [cell([row[k] for row in groups[key] if row.get(k) is not None], forms[k]) for k in SHOWN]
        lines.append(f"| {key[1]} | {len(groups[key])} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n\n"


def section(record: dict[str, Any]) -> str:
    """What a run of bench-tables found."""
    versions = record["versions"]
    said = INTRO.format(processor=record["machine"]["processor"], threads=record["threads"], torch=versions["torch"],
                        xgboost=versions["xgboost-cpu"])  # fmt: skip
    there = {row["table"] for row in record["rows"]}
    whole = {"realnvp", "vae", "gan"} <= {row["model"] for row in record["rows"]}
    said = said + OLDER if whole else f"The same, of {where(record)}"
    return said + "".join(table(name, record["rows"]) for name in TITLES if name in there)


DENSITY = """**Flows: held-out log-likelihood**

Measured by `make bench-density`: mean nats of a test row in data units, higher is better. Every flow is trained by the
same loop for the same time (of its process), or the same number of steps; those that are *documented* have the
architecture, batch and rate that their library shows for a spline flow. pendigits and letter are integers with uniform
noise. *pofx nsf* is `pofx.flows.NSF(features)`, eight layers; those of *5 layers* have as many as the peers, *mixture*
has them on a started `pofx.flows.Mixture`, *bf16* trains their networks in bfloat16. The last line of a table is twice
the standard error of a mean over test rows, which are the same for all flows. All figures:
[benchmarks/results](../benchmarks/results).

"""
SPEED = """**Flows: speed**

Measured by `make bench-flows`: milliseconds of a training step on 512 rows (and of drawing 4,096), medians; 5 layers of
3 x 128 units and 8 bins, float32, for all; *bf16*: networks that train in bfloat16, where the processor has it. All
figures: [benchmarks/results](../benchmarks/results).

"""
AUTOENCODERS = """**Autoencoders: likelihood of images**

Measured by `make bench-autoencoders`: -log p of test images in nats, lower is better: the importance-weighted bound of
500 draws on all 10,000 images, binarised by chance, after so many CPU-minutes on one thread. *mlp*: one hidden layer of
400, 40 latent numbers, RealNVP prior, or *normal* prior; *conv*: convolutions of 32 and 64 channels, RealNVP prior. The
published figures are their papers'.

"""
DENOISING = """**Denoising**

Measured by `make bench-denoising`: PSNR of 10,000 test images under Gaussian noise (a share of the range of a pixel),
about a CPU-minute of training a strength, beside the blur that validation images like best. Medians over seeds.

"""
BESIDE = """**Autoencoders beside pythae and pyod**

Measured by `make bench-autoencoder-peers`, medians of rounds that alternate. *mlp*, *conv*: pythae's networks, batch
and rate, trained by both; *own*: pofx's convolutions against pythae's; *nll*: likelihood by 1,000 draws;
*outliers*: defaults of both, one class of pendigits or letter left out of training, medians over classes.

"""
GAN_IMAGES = """**Adversarial networks: images**

Measured by `make bench-gan-images` after so many CPU-minutes on one thread: 1,000 draws beside 1,000 test images in two
spaces of features ([guard.md](guard.md)). *Skill*: 1 where draws are as near to test images as training images are, 0
where they are as far as draws of a normal law of all pixels. *Coverage* and *distance* (Fréchet's) stand beside those
of training images. Every run has the same networks.

"""
STACKED = """**Adversarial networks: a thousand modes**

Measured by `make bench-stacked-mnist` after so many CPU-minutes on one thread, or seconds of a GPU: three digits of
MNIST an image, 26,000 draws read by one classifier; KL of the law of modes from the uniform law. Published figures are
their papers', of DCGAN networks and 50 epochs.

"""
POINTS = """**Adversarial networks: modes of points**

Measured by `make bench-gans` after so many CPU-minutes on one thread: a ring of 8 and a grid of 25 Gaussians, 2,500
draws, of high quality within 3 deviations of a mean; medians over seeds and the worst. Published figures are their
papers'.

"""
RESTORE = """**Photos and videos restored**

Measured by `make bench-restore` on one thread: Set5 scaled down by 2 or 4 and enlarged again, PSNR of BT.601 luma;
Set12 with Gaussian noise of a deviation of 15, 25 or 50, one network for all. *general*: the models that come with
pofx.
Protocols: [benchmarks/restore.py](../benchmarks/restore.py). Published figures are their authors'.

"""
TEXT = """**Text**

Measured by `make bench-sequences` after so many CPU-minutes on one thread: nats a symbol of unseen text, lower is
better. tiny Shakespeare: characters, the last tenth judges; `any_order` says a bound. Beside them a Kneser-Ney law of
five symbols and the frequencies of symbols; of samples at temperatures .7, 1 and 1.3 the entropy of symbols and
self-BLEU, beside those of unseen text.

"""
PEERS_OF_TEXT = """**Text beside other libraries**

Measured by `make bench-sequence-peers` after so many CPU-minutes on one thread: networks of one width, depth and number
of symbols a step; those of x-transformers and transformers by AdamW at the better of two rates. markovify has no
likelihood; *distance* is the total variation of runs of 1 to 4 characters from unseen text.

"""
MUSIC = """**Music**

Measured by `make bench-sequences` after so many CPU-minutes on one thread: JSB chorales, the standard split; nats a
time step of unseen pieces, lower is better.

"""
SOUNDS = """**Sounds**

Measured by `make bench-sequences` after so many CPU-minutes on one thread: spoken digits of six speakers at 8 kHz,
drawn by digit, and 123 one-shots of drums, drawn by class. *Recognised* by a network that learned real training clips;
kernel distances from unseen clips in two spaces ([audio.md](audio.md)).

"""
IMAGES = """**Images by class: flows, autoencoders, adversarial networks**

Measured by `make bench-images` after so many CPU-minutes on one thread, or minutes of a GPU: bits a dimension of test
images given their label, lower is better (a bound); skill, coverage and distance as below; the share of draws that a
classifier of real images finds to be of the label they were drawn for.

"""
HALVES = """**Hidden halves of digits**

Measured by `make bench-completion` after so many CPU-minutes on one thread: the lower half of test images hidden and
completed; squared error of that half and the share of digits that a linear classifier names rightly.

"""
GUARD = """**The verdict of a fit: false alarms, and failures that were named**

Measured by `make bench-guard`, 1,000 examples a side: real unseen examples in the place of samples, then
failures made on purpose ([guard.md](guard.md)). Ranges over seeds.

"""
SCALE = """**Tables larger than memory**

Measured by `make bench-scale` on one thread: a made CSV of 20 columns stays on disk while `any_order` learns it, rows
are drawn into a file and scored from one ([tables.md](tables.md)). Thousands of rows a second of each pass, and the
most memory that the process held, MiB.

"""
SMALL = """**Few rows**

Measured by `make bench-small`: nats a row of unseen rows above those of the columns' own laws, by model, and what `fit`
takes by itself; what a learner of the target gains from synthetic rows beside the real ones (AUC or R2, 95 % interval).

"""
GOING_ON = """**Going on from a fitted model**

Measured by `make bench-going-on`: a fit on half of the rows, without those of one level; then more steps on all rows,
`fit --from`, beside a fit anew of as many, and of as many as both had. Nats a row of unseen rows above the columns' own
laws, of rows with the new level in brackets.

"""
CONSTRAINTS = """**Constraints of a table**

Measured by `make bench-constraints`: 4,000 drawn rows of a made table of trips, learned with the constraints that `fit`
finds by itself and without ([tables.md](tables.md)): rows that break the order, the sum, the group; nats an unseen row;
AUC of the guard's fresh critic, .5 where it cannot tell.

"""
SEVERAL = """**Several tables**

Measured by `make bench-several-tables`: a made shop of 3,000 customers ([several_tables.md](several_tables.md)). AUC of
a judge of rows with their parent and earlier sibling (.5 is a coin), largest difference of the distribution functions
of children a parent; beside held-out real rows (floor) and a trivial baseline; then conditionals, drawn and real.

"""
PRIVACY = """**Private tables**

Measured by `make bench-privacy` on Adult, delta 1e-6: how well boosted trees tell rows from real ones (score, 1: not at
all) and what a learner of the target is worth on real rows (use, AUC), by epsilon ([private.md](private.md)).

"""
ROWS = """**Autoencoders: likelihood of tables**

Measured by `make bench-autoencoder-tables`: mean nats of an unseen row, higher is better, and the seconds of a fit with
the model's defaults; medians over seeds. Those of autoencoders are lower bounds. The first four have no code that is
learned: *ppca* is the linear autoencoder's law.

"""


def where(record: dict[str, Any]) -> str:
    """The machine and the versions behind a table, in a line."""
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    threads = f"{record['threads']} thread" + "s" * (record["threads"] > 1)
    card = record["machine"].get("card")
    return f"{record['machine']['processor']}, {threads}{f', {card}' if card else ''}; {versions}:\n\n"


def medians(rows: list[Row], key: Callable[[Row], tuple[Any, ...]], value: str) -> dict[tuple[Any, ...], float]:
    groups: dict[tuple[Any, ...], list[float]] = {}
    for row in rows:
        if row.get(value) is not None:
            got = row[value]
            groups.setdefault(key(row), []).extend(got if isinstance(got, list) else [got])
    return {k: statistics.median(v) for k, v in groups.items()}


def density(record: dict[str, Any]) -> str:
    """A line a flow and budget, a column a set; the best of a column and kind of budget is bold."""
    rows = record["rows"]
    found = medians(rows, lambda row: ((budget(row), row["flow"]), row["set"]), "nats")
    sets = [name for name in SETS if any(row["set"] == name for row in rows)]
    spent = sorted({k[0] for k, _ in found}, key=lambda words: (words == "", words))
    best: dict[tuple[str, str], float] = {}
    for ((words, _), name), value in found.items():
        best[words, name] = max(value, best.get((words, name), value))

    def behind(key: tuple[str, str]) -> float:
        """How far a flow is behind the best of its budget, on the sets that it has."""
        return statistics.mean(best[key[0], s] - found[key, s] for s in sets if (key, s) in found)

    names = sorted(dict.fromkeys(k for k, _ in found), key=lambda key: (spent.index(key[0]), behind(key)))
    seeds = len({row["seed"] for row in rows})
    lines = ["| | " + " | ".join(name.replace("_", " ") for name in sets) + " |", "|---" * (len(sets) + 1) + "|"]
    for words, flow in names:
        values = [found.get(((words, flow), name)) for name in sets]
        cells = ["" if v is None else f"**{v:.2f}**" if v == best[words, s] else f"{v:.2f}"
                 for v, s in zip(values, sets, strict=True)]  # fmt: skip
        own = len({row["seed"] for row in rows if (budget(row), row["flow"]) == (words, flow)})
        many = f", {own} seeds" if own > 1 else ", one seed" if own < seeds else ""
        lines.append(f"| {flow}{f', {words}' if words else ''}{many} | " + " | ".join(cells) + " |")
    error = medians([row for row in rows if budget(row)], lambda row: (row["set"],), "error_2se")
    lines.append("| twice the standard error | " + " | ".join(f"{error[name,]:.2f}" for name in sets) + " |")
    return where(record) + "\n".join(lines) + "\n\n"


def speed(record: dict[str, Any]) -> str:
    """A line a flow and number of features, a column a library: a step, and draws in brackets."""
    rows = record["rows"]
    steps, draws = (
        medians(rows, lambda row: (row["kind"], row["features"], row["library"]), v) for v in ("step", "draw")
    )
    libraries = list(dict.fromkeys(row["library"] for row in rows))
    lines = ["| | " + " | ".join(libraries) + " |", "|---" * (len(libraries) + 1) + "|"]
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    for kind, features in sorted({k[:2] for k in steps}, key=lambda k: (kinds.index(k[0]), k[1])):
        keys = [(kind, features, library) for library in libraries]
        cells = [f"{steps[k]:.0f} ({draws[k]:,.0f})" if k in steps else "" for k in keys]
        lines.append(f"| {kind}, D = {features} | " + " | ".join(cells) + " |")
    return where(record) + "\n".join(lines) + "\n\n"


def records(name: str) -> list[dict[str, Any]]:
    """What benchmarks/results holds of a benchmark: a file a machine or budget, NAME.json and NAME-*.json."""
    paths = [RESULTS / f"{name}.json", *sorted(RESULTS.glob(f"{name}-*.json"))]
    return [json.loads(path.read_text()) for path in paths if path.exists()]


OTHERS: list[tuple[str, str, Callable[[list[Row]], str]]] = [
    ("scale", SCALE, scale.printed),
    ("small", SMALL, small.printed),
    ("going_on", GOING_ON, going_on.printed),
    ("constraints", CONSTRAINTS, constraints.printed),
    ("several_tables", SEVERAL, several_tables.printed),
    ("privacy", PRIVACY, privacy.printed),
    ("autoencoders", AUTOENCODERS, autoencoders.printed),
    ("autoencoder_tables", ROWS, autoencoder_tables.printed),
    ("denoising", DENOISING, denoising.printed),
    ("autoencoder_peers", BESIDE, autoencoder_peers.printed),
    ("images", IMAGES, images.printed),
    ("gan_images", GAN_IMAGES, gan_images.printed),
    ("gans", POINTS, gans.printed),
    ("stacked_mnist", STACKED, stacked_mnist.printed),
    ("restore", RESTORE, restore.printed),
    ("completion", HALVES, completion.printed),
    ("sequences", TEXT, sequences.printed),
    ("sequence_peers", PEERS_OF_TEXT, sequence_peers.printed),
    ("music", MUSIC, music.printed),
    ("audio", SOUNDS, audio.printed),
    ("guard", GUARD, guard.printed),
]


def of(name: str, figure: str, words: str = "{:.2f}", **where: Any) -> str:
    """The median of a figure over the rows of benchmarks/results/NAME.json that are so."""
    rows = [row for row in records(name)[0]["rows"] if all(row.get(k) == v for k, v in where.items())]
    values = [v for row in rows for v in (row[figure] if isinstance(row[figure], list) else [row[figure]])]
    return words.format(statistics.median(values))


def restored(run: str, figure: str) -> str:
    rows = [row for row in records("restore")[0]["rows"] if row["run"] == run]
    return f"{next(found['psnr'] for found in rows[0]['figures'] if found['figure'] == figure):.2f}"


def filmed(way: str) -> str:
    """dB of a clip enlarged in a way."""
    figures = records("restore-video")[0]["rows"][0]["figures"]
    return f"{next(f['psnr'] for f in figures if f['figure'] == f'bigbuckbunny x2, {way}'):.2f}"


def highlights() -> str:
    """A line a question, pofx beside others."""

    def score(model: str, table: str = "adult") -> str:
        return of("tables", "score_train", table=table, model=model)

    def step(library: str) -> str:
        return of("flows", "step", "{:.0f}", kind="coupling", features=32, library=library)

    text, tune = ({"run": f"{name}, autoregressive"} for name in ("shakespeare", "jsb quarter"))
    beside = next(row["beside"] for row in records("music")[0]["rows"] if row["run"] == tune["run"])
    stacked = max((row for row in records("stacked_mnist")[0]["rows"] if row["steps"]), key=lambda row: row["modes"])
    lines = [
        ("can boosted trees tell rows of Adult from real ones? (two-sample score, 1: no)", score("any_order"),
         f"ctgan package {score('ctgan')}; of the published split TabSyn {score('tabsyn', 'adult_peers')}, pofx "
         f"{score('any_order', 'adult_peers')}; real rows 1.00"),
        ("a training step of a spline flow, 32 features, ms", f"{step('pofx')}, compiled {step('pofx, compiled')}",
         f"nflows {step('nflows')}, zuko {step('zuko')}, FlowJAX {step('flowjax')}"),
        ("photos enlarged twice, Set5, dB", restored("x2", "x2"), f"bicubic {restored('bicubic', 'x2')}"),
        ("a clip enlarged twice, bigbuckbunny, dB", filmed("with what is learned of it"),
         f"frame by frame {filmed('frame by frame')}, bicubic {filmed('bicubic')}"),
        ("noise of 25 taken off photos, Set12, dB", restored("noise", "noise 25"),
         f"BM3D {restored('BM3D', 'noise 25')}"),
        ("modes of 1,000 that a GAN keeps, stacked MNIST", f"{stacked['modes']:.0f}", "published DCGAN 99, VEEGAN 150"),
        ("nats a character of unseen Shakespeare", of("sequences", "nats", **text), f"5-gram "
         f"{of('sequences', '5-gram', **text)}"),
        ("nats a step of unseen chorales", of("music", "nats", **tune), f"5-gram {beside['5-gram']:.2f}, published "
         "RNN-NADE 5.56"),
    ]  # fmt: skip
    return "\n".join(["| | pofx | beside |", "|---|---|---|", *(f"| {' | '.join(line)} |" for line in lines)])


QUOTED = """
Each figure is measured by a `make bench-...` beside its floor (real against real) and a trivial baseline; what was
missed stands there too. All of them, with machines and versions: [docs/figures.md](docs/figures.md).

"""


def filled(text: str) -> str:
    """The README with its figures made anew."""
    before, after = text.index(BEGIN) + len(BEGIN), text.index(END)
    return text[:before] + QUOTED + highlights() + "\n\n" + text[after:]


def page() -> str:
    """All figures."""
    parts = [*map(section, records("tables")), DENSITY, *map(density, records("density")), SPEED,
             *map(speed, records("flows"))]  # fmt: skip
    for name, intro, lines in OTHERS:
        found = [where(record) + lines(record["rows"]) + "\n\n" for record in records(name)]
        parts += [intro, *found] if found else []
    return "# Figures\n" + "".join(parts).rstrip() + "\n"


def main() -> None:
    README.write_text(filled(README.read_text()))
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
