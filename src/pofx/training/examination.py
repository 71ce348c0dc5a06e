"""What samples of a model look like beside examples that it never saw: figures with their floor and trivial baseline.

In each of two spaces of features (metrics/features.py), X samples, Y held-out examples, T training ones, Z trivial ones
(`trivial` of excerpts.py), all of the same number n:

    skill = (F(Z, Y) - F(X, Y)) / (F(Z, Y) - F(T, Y)),   F the Fréchet distance:

1 as good as training examples, 0 as the trivial ones, less than 0 worse. Beside it precision, recall, density and
coverage, whole and by class; a fresh critic's AUC; exact repetitions; how near samples lie to training examples; the
clusters of training examples that samples miss; and whether examples are of the label that they were drawn under:

    kappa = (a - e) / (1 - e),   a the share that a classifier of training examples finds to be of their label, e what
    it would be of labels drawn alone (Cohen's).

Of documents and of music windows are judged, several of each example (excerpts.py); errors are those of examples, not
of windows. Of text and music copies are exact ones (metrics/runs.py). Every figure belongs to a protocol: space, n,
split, seed, data and extractor.
"""

import hashlib
import math
import warnings

import numpy as np

from ..metrics import count, is_level, numbers, take
from ..metrics.features import LEARNED, Space, labels_of, recipe, shape_of, spaces, unlabelled
from ..metrics.fresh_critic import fresh_critic, logits, told_apart
from ..metrics.prdc import NEIGHBOURS, distances, frechet, nearest, prdc
from ..metrics.runs import Seen
from ..metrics.sequences import sizes
from ..metrics.two_sample import level_name, number_word
from ..spec import Columns, Spec
from .excerpts import all_runs, apart, excerpts, hashes_of, trivial, whole
from .figures import Cluster, Examination, Protocol, Share, Skill

ROWS = 1000  # examples a side
TRAINED = 20_000  # training examples that copies are looked for among
DRAWN, HELD = 8_000_000, 200_000_000  # numbers of large images: drawn, and looked among
FEW = 200  # of them at least
HEARD, READ = 20_000_000, 2400  # numbers of sounds, and lines of text, that are looked among
SYMBOLS, WINDOWS = 12_800, 400  # of text and music, drawn at a time, and how many windows of documents and music
LABOUR = 5e11  # multiplications that all draws take: some ten seconds of one core
ENOUGH = 100  # draws that all such are for, before any are for the fresh critic
PIECES = 10  # documents' rows and pieces of music that windows are of, at least
CLUSTERS, A_CLUSTER = 20, 50  # clusters at most, and training examples for each at least
DRAWS = 20  # bootstrap draws behind an error
A_NUMBER = 8  # examples for each axis of a space at least: fewer would make Fréchet distances noise
LEAST = 40  # held-out examples below which nothing is judged
A_CLASS = 20  # held-out examples of a class for a coverage of its own
SAID = 3  # columns that say where a cluster lies
SHOWN = 40  # symbols of the line that stands for a cluster
NEAR = 0.01  # a sample is near a training example where so few held-out ones are nearer
ALONE = 20  # training examples from which copies are looked for where too few are held out


class Examiner:
    """Held-out and training examples, turned into features once; `examine` holds samples against them.

    Raises nothing for few examples: `enough` says whether there are any to judge by; where not, `copied` is all that
    can be asked.
    """

    def __init__(
        self, spec: Spec, train: Columns, held: Columns, seed: int = 0, split: str = "validation", labour: float = 0.0
    ) -> None:
        self.spec, self.seed, self.split, self.shape = spec, seed, split, shape_of(spec)
        rng = np.random.default_rng([seed, 7])
        there = [apart(spec, x) for x in (train, held)]
        afforded, more = _affordable(spec, train, labour)
        self.n = min(afforded, *map(len, there))
        self.again = min(more, 2 * self.n)
        self.most = -(-WINDOWS // max(self.n, 1))  # windows of an example
        self.held, self.held_of = self._cut(take(held, there[1][rng.permutation(len(there[1]))[: self.n]]))
        order = there[0][rng.permutation(len(there[0]))]
        same, self.floor_of = self._cut(take(train, order[-self.n :] if self.n else order[:0]))
        self.enough = self.n >= (LEAST if whole(spec) else PIECES) and min(count(self.held), count(same)) >= LEAST
        if not self.enough:
            self.train = take(train, order[: min(ROWS, afforded + more)])
            return
        self.train, of = self._cut(take(train, order[: _kept(spec, train)]))
        self.order = order[of]
        self._measure(same, rng)
        if self.shape in ("symbols", "rolls"):
            self.seen = Seen.of(all_runs(spec, train), all_runs(spec, held), hashes_of(spec, self.held))

    def _cut(self, x: Columns) -> tuple[Columns, np.ndarray]:
        """What is judged of examples, and which each is of."""
        return excerpts(self.spec, x, self.most, np.random.default_rng([self.seed, 6]))

    def _measure(self, same: Columns, rng: np.random.Generator) -> None:
        """The real examples in each space: held-out ones, training ones, and as many of these in place of samples."""
        spec, seed = self.spec, self.seed
        self.spaces: tuple[Space, ...] = spaces(spec, self.train, seed)
        self.axes = max(2, min(32, count(self.held) // A_NUMBER))
        self.real = {s.name: s.of(self.held) for s in self.spaces}
        self.known = {s.name: s.of(self.train) for s in self.spaces}
        empty = trivial(spec, self.train, count(self.held), rng)
        self.floor = {s.name: s.of(same) for s in self.spaces}
        self.poor = {s.name: s.of(empty) for s in self.spaces}
        self.rates = {k: prdc(v, self.real[k]) for k, v in self.floor.items()}
        data = digest(self.train, self.held)
        self.protocols = {
            s.name: Protocol(
                s.name, self.n, self.split, seed, data, digest(self.train, words=f"{s.name} {seed} {recipe(spec)}")
            )
            for s in self.spaces
        }
        self.own = labels_of(spec, same)
        self.blind = unlabelled(spec, self.train, seed, self.spaces) if self.own is not None else ()
        self.middle, self.member = self._clusters()
        first = self.spaces[0].name
        self.reach = float(nearest(self.real[first], self.real[first], 2).mean())
        self.gap = nearest(self.real[first], self.known[first])
        self.repeated = repeated(self.spec, self.held)

    def examine(self, fake: Columns, more: Columns | None = None) -> Examination:
        """The figures of n samples; with `more` of them also a fresh critic's AUC and how near training ones lie."""
        found = Examination(self.n, protocols=self.protocols)
        fake, owner = self._cut(fake)
        found.finite = all(np.isfinite(v).all() for v in self._numbers(fake))
        if not found.finite:
            return found
        told = {s.name: s.of(fake) for s in self.spaces}
        found.floors = self.rates
        for name, x in told.items():
            found.rates[name] = prdc(x, self.real[name])
            found.skill[name] = self._skill(name, x, owner)
        first = self.spaces[0].name
        found.repeated, found.repeated_floor = repeated(self.spec, fake), self.repeated
        if self.reach > 1e-6:
            found.spread = float(nearest(told[first], told[first], 2).mean()) / self.reach
        found.clusters = self._shares(told[first])
        found.classes = self._classes(fake, told[self.spaces[-1].name])
        if more is not None:
            found.labels = self._labels(fake)
            for cluster in found.missed:
                cluster.where = self._where(int(cluster.name.split()[1]))
            self._in_full(found, fake, told, self._cut(more)[0])
        return found

    def leaked(self, altered: Columns, fake: Columns) -> tuple[float, float]:
        """The shares of samples and of held-out examples that look altered to a classifier of altered training ones."""
        known, asked = ({k: v[: count(altered)] for k, v in self.train.items()}, (fake, self.held))
        both = [self._joined(x) for x in (known | altered, known)]
        told = logits(both[0], both[1], [self._joined(x) for x in asked], self.seed)
        return float((told[0] > 0).mean()), float((told[1] > 0).mean())

    def explains(self, altered: Columns, fake: Columns, share: float) -> bool:
        """Whether so many altered examples among others are what samples are like: their Fréchet distance is below half
        of that of trivial examples from held-out ones. Bad samples look altered too, and are far from such a mixture.
        """
        some = round(share * min(self.n, count(altered)))
        rest = take(self.train, np.arange(count(self.train) - self.n + some, count(self.train)))
        mixed = {k: np.concatenate([altered.get(k, self.train[k])[:some], v]) for k, v in rest.items()}
        sets = [(s.of(fake), s.of(mixed), self.poor[s.name], self.real[s.name]) for s in self.spaces]
        return all(
            frechet(x[:, : self.axes], m[:, : self.axes]) < frechet(z[:, : self.axes], y[:, : self.axes]) / 2
            for x, m, z, y in sets
        )

    def _joined(self, x: Columns) -> np.ndarray:
        return np.concatenate([s.of(x) for s in self.spaces], 1)

    def copied(self, fake: Columns) -> Examination:
        """How near samples lie to training examples, beside how near those lie to one another: of few examples."""
        found = Examination(count(fake))
        if self.shape in ("symbols", "rolls"):
            return self._repeated_runs(found, fake)
        space = spaces(self.spec, self.train, self.seed)[0]
        known = space.of(self.train)
        alone = nearest(known, known, 2)
        self._nearness(found, nearest(space.of(fake), known), alone)
        return found

    def _repeated_runs(self, found: Examination, fake: Columns) -> Examination:
        """The shares of samples and of training examples whose symbols are those of (other) training examples."""
        told = [hashes_of(self.spec, excerpts(self.spec, x, 1, np.random.default_rng(self.seed))[0])
                for x in (fake, self.train)]  # fmt: skip
        known = all_runs(self.spec, self.train)
        values, counts = np.unique(known, return_counts=True)
        found.near = float(np.isin(told[0], values).mean())
        found.near_floor = float(np.isin(told[1], values[counts > 1]).mean())
        return found

    def nearest(self, fake: Columns) -> np.ndarray:
        """The numbers of the training examples nearest to samples, in the learned space, (n,)."""
        last = self.spaces[-1]
        return self.order[distances(last.of(fake), self.known[last.name]).argmin(1)]

    def _numbers(self, x: Columns) -> list[np.ndarray]:
        """The cells of numbers that are there."""
        kept = []
        for f in self.spec.fields:
            v = x[f.name]
            if v.dtype.kind == "f":
                kept.append(v[~f.absent(v)] if f.has_missing or f.unknown else v)
        return kept

    def _skill(self, name: str, x: np.ndarray, owner: np.ndarray) -> Skill:
        sets = [v[:, : self.axes] for v in (x, self.floor[name], self.poor[name])]
        real = self.real[name][:, : self.axes]
        fake, floor, poor = (frechet(v, real) for v in sets)
        rng = np.random.default_rng([self.seed, 8])
        drawn = []
        for _ in range(DRAWS):
            rows = [_again(rng, of) for of in (owner, self.floor_of, np.arange(len(sets[2])), self.held_of)]
            drawn.append([frechet(v[r], real[rows[3]]) for v, r in zip(sets, rows[:3], strict=True)])
        a, b, c = np.array(drawn).T
        gap = poor - floor
        measurable = gap > 3 * float((c - b).std())
        beside, gain = float((c - a).std()), (poor - fake) / max(gap, 1e-12)
        error = beside / max(gap, 1e-12)
        return Skill(gain, error, self.protocols[name], bool(measurable), fake, floor, poor, beside)

    def _clusters(self) -> tuple[np.ndarray, np.ndarray]:
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning

        v = self.known[self.spaces[0].name]
        k = min(CLUSTERS, max(1, len(v) // A_CLUSTER))
        with warnings.catch_warnings():  # of fewer different examples than clusters: what is empty counts nothing
            warnings.simplefilter("ignore", ConvergenceWarning)
            made = KMeans(k, n_init=2, random_state=self.seed).fit(v)
        return made.cluster_centers_.astype(np.float32), made.labels_

    def _shares(self, x: np.ndarray) -> list[Cluster]:
        known, k = self.known[self.spaces[0].name], len(self.middle)
        real = np.bincount(self.member, minlength=k) / len(self.member)
        fake = np.bincount(distances(x, self.middle).argmin(1), minlength=k) / len(x)
        near = self.order[distances(self.middle, known).argsort(1)[:, :3]]
        return [Cluster(f"cluster {j}", float(real[j]), float(fake[j]), near[j].tolist()) for j in range(k)]

    def _where(self, group: int) -> str:
        """The columns that tell a cluster of rows from others, in words: a range of nine tenths of it, or a level; of
        text the example in its middle.
        """
        if self.shape == "symbols":
            return self._text(int(distances(self.middle[[group]], self.known[self.spaces[0].name]).argmin()))
        if self.shape != "rows":
            return ""
        mine, told = self.member == group, []
        for f in (*self.spec.fields, *(self.spec.condition.fields if self.spec.condition else ())):
            if is_level(f):
                v = self.train[f.name]
                code = np.unique(v[mine], return_counts=True)
                level, share = code[0][code[1].argmax()], code[1].max() / mine.sum()
                told.append((share - float((v == level).mean()), f"{f.name} is {level_name(f, level)} ({share:.0%})"))
            elif np.isfinite(v := numbers(f, self.train))[mine].any():
                low, high = np.nanquantile(v[mine], (0.05, 0.95), method="nearest")
                within = float(((v >= low) & (v <= high)).mean())
                told.append((1 - within, f"{f.name} {number_word(f, low)} to {number_word(f, high)}"))
        return ", ".join(words for _, words in sorted(told, key=lambda one: -one[0])[:SAID])

    def _text(self, row: int) -> str:
        """The symbols of a training line or window, quoted."""
        field = self.spec.fields[0]
        levels, codes = getattr(field, "levels", ()), self.train[field.name][row]
        return "such as " + repr("".join(levels[code] for code in codes[:SHOWN]))

    def _classes(self, fake: Columns, x: np.ndarray) -> dict[str, Share]:
        """The coverage of each class of the condition's only level, beside that of as many training examples of it."""
        if self.own is None or (told := labels_of(self.spec, fake)) is None:
            return {}
        name, code = self.spaces[-1].name, labels_of(self.spec, self.held)
        out = {}
        own = self.spec.condition.fields if self.spec.condition else ()
        for level, word in enumerate(getattr(own[0], "levels", ())):
            mine, theirs, floor = self.real[name][code == level], x[told == level], self.floor[name][self.own == level]
            if len(mine) >= A_CLASS and len(floor) > NEIGHBOURS:
                few = min(len(theirs), len(floor))
                share = prdc(theirs[:few], mine)["coverage"] if few > NEIGHBOURS else 0.0
                usual = max(prdc(floor[: max(few, NEIGHBOURS + 1)], mine)["coverage"], 0.05)
                out[str(word)] = Share(share / usual, math.sqrt(0.25 / len(mine)) / usual)
        return out

    def _labels(self, fake: Columns) -> Share | None:
        """Kappa of samples beside that of held-out examples; None where a classifier knows no label of those."""
        own = [labels_of(self.spec, x) for x in (self.train, self.held, fake)]
        if self.own is None or own[0] is None or not (own[0] >= 0).any():
            return None
        x = [np.concatenate([s.of(v) for s in self.blind], 1) for v in (self.train, self.held, fake)]
        guesses = told_apart(x[0], own[0], x[1:], self.seed)
        usual, found = (_kappa(y, guess) for y, guess in zip(own[1:], guesses, strict=True))
        if usual.value < max(KNOWN, 3 * usual.error):
            return None
        return Share(found.value / usual.value, math.hypot(found.error, usual.error) / usual.value)

    def _in_full(self, found: Examination, fake: Columns, told: dict[str, np.ndarray], more: Columns) -> None:
        aside = [np.concatenate([part[s.name] for s in self.spaces], 1) for part in (told, self.real, self.known)]
        if count(more):
            found.auc, found.auc_error = fresh_critic(self._joined(more), aside[2], aside[0], aside[1], self.seed)
        first = self.spaces[0].name
        self._nearness(found, nearest(told[first], self.known[first]), self.gap)
        if self.shape in ("symbols", "rolls"):
            found.near, found.near_floor, found.near_error = self.seen.shares(hashes_of(self.spec, fake))

    def _nearness(self, found: Examination, gap: np.ndarray, usual: np.ndarray) -> None:
        """The shares of samples and of others that lie nearer to training examples than NEAR of those do."""
        bar = float(np.quantile(usual, NEAR)) * (1 + 1e-6) + 1e-6
        cuts = {"samples": gap, "other real examples": usual}
        found.gaps = {k: [float(q) for q in np.quantile(v, (0.1, 0.5, 0.9))] for k, v in cuts.items()}
        found.near, found.near_floor = float((gap <= bar).mean()), float((usual <= bar).mean())


def _affordable(spec: Spec, train: Columns, labour: float) -> tuple[int, int]:
    """How many samples are examined, and how many more a fresh critic learns from."""
    x, shape = train[spec.fields[0].name], shape_of(spec)
    if shape in ("symbols", "rolls"):
        ends = bool(getattr(spec.fields[0], "ends", True))
        n = int(SYMBOLS / max(float(sizes(x[:LEARNED], ends).mean()), 1)) if len(x) else ROWS
        n = min(ROWS, max(n, 2 * PIECES))
    else:
        n = min(ROWS, max(FEW, DRAWN // _size(spec, x)))
    if 3 * n * labour <= LABOUR:
        return n, 2 * n
    total = int(LABOUR / labour)
    n = min(n, max(total // 3, min(total, ENOUGH), LEAST if whole(spec) else PIECES))
    again = min(2 * n, total - n)
    return n, again if again >= LEAST else 0


def _kept(spec: Spec, train: Columns) -> int:
    """The training examples that are looked among."""
    x, shape = train[spec.fields[0].name], shape_of(spec)
    if shape in ("symbols", "rolls"):
        return READ if whole(spec) else READ // 8
    return min(TRAINED, max(ROWS, (HEARD if shape == "sounds" else HELD) // _size(spec, x)))


def _size(spec: Spec, x: np.ndarray) -> int:
    """The numbers of an example, 1 of a row."""
    return math.prod(x.shape[1:]) * len(spec.fields) if x.ndim > 1 else 1


def _again(rng: np.random.Generator, owner: np.ndarray) -> np.ndarray:
    """A bootstrap draw of what is judged, (m,): examples are drawn, each with all that is judged of it."""
    names, counts = np.unique(owner, return_counts=True)
    if len(names) == len(owner):
        return rng.integers(0, len(owner), len(owner))
    parts = np.split(np.argsort(owner, kind="stable"), np.cumsum(counts)[:-1])
    return np.concatenate([parts[i] for i in rng.integers(0, len(parts), len(parts))])


KNOWN = 0.1  # kappa of held-out examples below which a label cannot be told from an example


def _kappa(y: np.ndarray | None, guess: np.ndarray) -> Share:
    """Cohen's kappa of labels, (n,), -1 where there is none, and guesses; its standard error."""
    there = np.ones(len(guess), bool) if y is None else y >= 0
    if y is None or there.sum() < 2:
        return Share(0.0, 1.0)
    y, guess = y[there], guess[there]
    wide = int(max(y.max(), guess.max())) + 1
    shares = [np.bincount(v, minlength=wide) / len(y) for v in (y, guess)]
    right, alone = float((y == guess).mean()), float(shares[0] @ shares[1])
    rest = max(1 - alone, 1e-9)
    return Share((right - alone) / rest, math.sqrt(max(right * (1 - right), 1 / len(y)) / len(y)) / rest)


def digest(*tables: Columns, words: str = "") -> str:
    """A short digest of examples and of words."""
    made = hashlib.blake2b(words.encode(), digest_size=8)
    for x in tables:
        for name, v in x.items():
            made.update(name.encode())
            made.update(np.ascontiguousarray(v).data)
    return made.hexdigest()


def repeated(spec: Spec, x: Columns) -> float:
    """The share of examples that equal an earlier one of the same set."""
    rows = np.stack([np.ascontiguousarray(x[f.name]).reshape(count(x), -1).astype(np.float64) for f in spec.fields], 1)
    flat = np.nan_to_num(rows.reshape(count(x), -1), nan=-1e300)
    return 1 - len(np.unique(flat, axis=0)) / max(len(flat), 1)
