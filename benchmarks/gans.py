"""Do adversarial networks keep all modes? A ring of 8 and a grid of 25 Gaussians, beside what was published.

    make bench-gans
    python benchmarks/gans.py --data grid --runs "relativistic r1+r2" "wasserstein gradient x 5" --seeds 0 1 2 3 4

ring: 8 means on the unit circle, deviation .01; grid: 25 means, -4 to 4 by 2, deviation .05; 100,000 training points.
Every run is the `gan` of pofx, `WORDS` and `SHARP`, on the plain coordinates over their deviation, for so many
CPU-minutes. Of a *table*, as users have it, a column goes through its own distribution function first, which parts the
modes of the grid by itself: the line *independent* draws the two columns apart. 2,500 draws: one is of high quality
within 3 deviations of the nearest mean; a mode is found where it has one of them; reverse KL is that of the law of the
modes among these draws from the uniform law. The first line of a set is 2,500 true draws.
"""

import math
import statistics
from typing import Any

import numpy as np
import torch
from scipy.stats import norm

from autoencoders import HERE, fit
from pofx.fields import Real
from pofx.models import create
from pofx.spec import Columns, Spec
from record import asking, measure

ROWS, DRAWS, DECIMALS = 100_000, 2_500, 5
WORDS = {"latent": 2, "width": 128, "depth": 2, "pack": 1}  # as many numbers of noise as a point has
SHARP = {"relativistic r1+r2": {"weight": 0.1, "anneal": 0.01, "waves": 8}}  # of modes as narrow as these
STEPS = {"critics": 5, "penalty_mode": "exact"}
RUNS: dict[str, dict[str, Any]] = {
    "relativistic r1+r2": {},
    "relativistic none": {"penalty": "none"},
    "minimax none": {"objective": "minimax", "penalty": "none", "pack": 1},
    "non-saturating none": {"objective": "non-saturating", "penalty": "none", "pack": 1},
    "non-saturating r1": {"objective": "non-saturating", "penalty": "r1"},
    "non-saturating r1+r2": {"objective": "non-saturating"},
    "least-squares r1+r2": {"objective": "least-squares"},
    "hinge spectral": {"objective": "hinge", "penalty": "spectral"},
    "wasserstein clip x 5": {"objective": "wasserstein", "penalty": "clip", "critics": 5},
    "wasserstein gradient x 5": {"objective": "wasserstein", "penalty": "gradient"} | STEPS,
}
TABLE = {"table, relativistic r1+r2": {}, "table, independent": None}  # None: no network at all
PUBLISHED = {  # modes, high quality %, reverse KL: Lin et al. 2018; of Unrolled and VEEGAN, Srivastava et al. 2017
    "ring": {"GAN": (6.3, 98.2, 0.45), "ALI": (6.6, 97.6, 0.36), "Unrolled GAN": (7.6, 35.6, None),
             "VEEGAN": (8, 52.9, None), "PacGAN2": (7.9, 95.6, 0.07), "PacGAN4": (7.8, 95.9, 0.07)},
    "grid": {"GAN": (17.3, 94.8, 0.70), "ALI": (24.1, 95.7, 0.14), "Unrolled GAN": (23.6, 16, None),
             "VEEGAN": (24.6, 40, None), "PacGAN2": (23.8, 91.3, 0.13), "PacGAN4": (24.8, 93.6, 0.04)},
}  # fmt: skip
PACKAGES = ("torch",)


def modes(name: str) -> tuple[np.ndarray, float]:
    """(means, deviation)."""
    if name == "ring":
        angle = np.arange(8) * math.pi / 4
        return np.stack([np.cos(angle), np.sin(angle)], 1), 0.01
    at = np.arange(-4.0, 5.0, 2.0)
    return np.stack(np.meshgrid(at, at), -1).reshape(-1, 2), 0.05


def points(name: str, n: int, seed: int) -> Columns:
    means, deviation = modes(name)
    random = np.random.default_rng(seed)
    v = means[random.integers(0, len(means), n)] + deviation * random.normal(size=(n, 2))
    return {"x": np.round(v[:, 0], DECIMALS), "y": np.round(v[:, 1], DECIMALS)}


def figures(name: str, drawn: Columns) -> dict[str, float]:
    means, deviation = modes(name)
    far = np.linalg.norm(np.stack([drawn["x"], drawn["y"]], 1)[:, None] - means, axis=2)
    good = far.min(1) <= 3 * deviation
    share = np.bincount(far.argmin(1)[good], minlength=len(means)) / max(good.sum(), 1)
    there = share[share > 0]
    return {"modes": float((share > 0).sum()), "good": 100 * float(good.mean()),
            "reverse_kl": float((there * np.log(there * len(means))).sum()) if len(there) else math.inf}  # fmt: skip


class Plain(Real):
    """A number that networks see as it is, over its deviation: Phi^-1 of its level is (v - mean) / deviation."""

    @property
    def law(self) -> Any:
        mean, square = (float((self.mass * self.value(self.left) ** k).sum()) for k in (1, 2))
        return norm(mean, math.sqrt(square - mean**2))

    def lift(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        half = 0.5 * 10.0**-DECIMALS
        low = self.law.cdf(v - half)
        return low, self.law.cdf(v + half) - low

    def lower(self, u: np.ndarray) -> np.ndarray:
        return np.round(self.law.ppf(u), DECIMALS)


def run(name: str, words: str, seed: int, minutes: float) -> dict[str, Any]:
    x = points(name, ROWS, 1000 + seed)
    kind, config = (Real, TABLE[words]) if words in TABLE else (Plain, RUNS[words])
    spec = Spec.table(tuple(kind.learn(k, v, DECIMALS) for k, v in x.items()))
    if config is None:
        model, told = create("independent", spec, seed), {"steps": 0, "cpu_seconds": 0.0}
    else:
        model = create("gan", spec, seed, **WORDS | config | SHARP.get(words, {}))
        told = fit(model, x, points(name, 2000, 2000 + seed), minutes, seed)
    drawn = model.decode(model.noise(DRAWS, torch.Generator().manual_seed(seed)))
    return {"set": name, "run": words, "seed": seed, "minutes": minutes} | told | figures(name, drawn)


def printed(rows: list[dict[str, Any]]) -> str:
    """A line a run and set, medians over seeds and the least of them; true draws first, published figures last."""
    lines = [
        "| | seeds | CPU s | steps | modes (worst) | high quality, % (worst) | reverse KL (worst) |",
        "|---" * 7 + "|",
    ]
    for name in dict.fromkeys(row["set"] for row in rows):
        floor = figures(name, points(name, DRAWS, 0))
        lines.append(
            f"| {name}, true draws | | | | {floor['modes']:g} | {floor['good']:.1f} | {floor['reverse_kl']:.3f} |"
        )
        for words in dict.fromkeys(row["run"] for row in rows if row["set"] == name):
            own = [row for row in rows if (row["set"], row["run"]) == (name, words)]
            mid = {k: statistics.median(row[k] for row in own) for k, v in own[0].items() if isinstance(v, int | float)}
            lines.append(
                f"| {name}, {words} | {len(own)} | {mid['cpu_seconds']:.0f} | {mid['steps']:,.0f} | {mid['modes']:g} "
                f"({min(row['modes'] for row in own):g}) | {mid['good']:.1f} ({min(row['good'] for row in own):.1f}) | "
                f"{mid['reverse_kl']:.3f} ({max(row['reverse_kl'] for row in own):.3f}) |"
            )
        for who, (found, good, kl) in PUBLISHED[name].items():
            lines.append(
                f"| {name}, published: {who} | | | | {found:g} | {good:g} | {'' if kl is None else f'{kl:.2f}'} |"
            )
    return "\n".join(lines)


def main() -> None:
    ask = asking(__doc__, HERE / "results" / "gans.json")
    ask.set_defaults(data=["ring", "grid"])
    ask.add_argument("--runs", nargs="+", default=[*RUNS, *TABLE], choices=[*RUNS, *TABLE])
    ask.add_argument("--minutes", type=float, default=2.0)
    told = ask.parse_args()
    torch.set_num_threads(told.threads)
    jobs = ((name, words, seed, told.minutes) for seed in told.seeds for name in told.data for words in told.runs)
    measure(told, ("set", "run", "seed", "minutes"), jobs, run, printed, PACKAGES)


if __name__ == "__main__":
    main()
