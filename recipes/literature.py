"""The literature's table of density estimation: POWER, GAS, HEPMASS, MINIBOONE, BSDS300, in nats of standardised rows.

    python recipes/literature.py power --files DIR           published preprocessing and hyper-parameters: hours to days
    python recipes/literature.py miniboone --files DIR --steps 2000
    python recipes/literature.py all --files DIR             every set whose files are there, beside what was published

What each set is read from, as its source distributes it, inside DIR:

    power      household_power_consumption.txt                   UCI, Individual Household Electric Power Consumption
    gas        ethylene_CO.txt                                   UCI, Gas Sensor Array under Dynamic Gas Mixtures
    hepmass    1000_train.csv and 1000_test.csv                  UCI, HEPMASS
    miniboone  MiniBooNE_PID.txt                                 UCI, MiniBooNE Particle Identification
    bsds300    BSDS300.hdf5 (needs h5py)                         with the code of Papamakarios et al. 2017

Preprocessing, from the raw files: Papamakarios, Pavlakou, Murray 2017, Masked Autoregressive Flow. Where the original
shuffles with numpy's old generator, so does this. Model and training: RQ-NSF (C) of Durkan, Bekasov, Murray,
Papamakarios 2019, Neural Spline Flows, as its authors' program has them: residual networks of ReLU, LU maps with a
permutation, splines on [-3, 3] and one without a network on each number that a coupling keeps, Adam with a rate that
falls as a cosine, gradients clipped at norm 5, the weights that validation rows like best. The splines here have
bounded slopes. The widths, bins, dropout, batch and steps of each set are those commonly given for that paper, not
checked against its print.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pofx.nn.coupling import Coupling
from pofx.nn.flow import Flow
from pofx.nn.layer import Layer
from pofx.nn.linear import LULinear
from pofx.transforms.spline import Spline

Parts = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Rows to train on, to validate by, to test."""


def power(folder: Path) -> Parts:
    """6 columns: active power, voltage, three meters and the minute of the day, with noise of their last digit."""
    rows = []
    with (folder / "household_power_consumption.txt").open(encoding="ascii") as file:
        next(file)
        for line in file:
            _, clock, *cells = line.strip().split(";")
            if "?" not in cells and "" not in cells:
                hour, minute, _ = clock.split(":")
                rows.append([*map(float, cells), 60.0 * int(hour) + int(minute)])
    x, random = np.array(rows), np.random.RandomState(42)
    random.shuffle(x)
    n = len(x)
    x = np.delete(x, [1, 3], 1)  # reactive power and intensity
    voltage, active, meters = 0.01 * random.rand(n, 1), 0.001 * random.rand(n, 1), random.rand(n, 3)
    x += np.hstack([active, voltage, meters, np.zeros((n, 1))])
    return standardised(*tenths(x))


def gas(folder: Path) -> Parts:
    """8 of 16 sensors: of those that correlate above .98 only the last is kept. Standardised by all rows, as published.

    A quarter of the rows, as the published counts have it; which quarter was not published, here by seed 42.
    """
    x = np.loadtxt(folder / "ethylene_CO.txt", skiprows=1)[:, 3:]
    x = x[np.random.RandomState(42).permutation(len(x))[: round(len(x) / 4)]]
    while (twins := (np.corrcoef(x.T) > 0.98).sum(1) > 1).any():
        x = np.delete(x, int(np.argmax(twins)), 1)
    return tenths((x - x.mean(0)) / x.std(0, ddof=1))


def hepmass(folder: Path) -> Parts:
    """21 of 27 columns of the signal at mass 1000; the test file has a column too many, its last."""
    files, columns = (folder / f"1000_{part}.csv" for part in ("train", "test")), range(28)
    train, test = (np.loadtxt(path, delimiter=",", skiprows=1, usecols=columns) for path in files)
    train, test = train[train[:, 0] == 1, 1:], test[test[:, 0] == 1, 1:]
    mean, deviation = train.mean(0), train.std(0, ddof=1)
    train, test = (train - mean) / deviation, (test - mean) / deviation
    keep = ~recurring(train)
    train, test = train[:, keep], test[:, keep]
    cut = len(train) // 10
    return train[:-cut], train[-cut:], test


def miniboone(folder: Path) -> Parts:
    """43 of 50 columns of the signal, without the rows that say -999 everywhere."""
    path = folder / "MiniBooNE_PID.txt"
    with path.open(encoding="ascii") as file:
        signal = int(file.readline().split()[0])
    x = np.loadtxt(path, skiprows=1, max_rows=signal)
    x = x[x[:, 0] >= -100]
    return standardised(*tenths(x[:, ~recurring(x)]))


def bsds300(folder: Path) -> Parts:
    """63 numbers of each 8 x 8 patch, already prepared."""
    try:
        import h5py
    except ImportError as missing:
        raise SystemExit("expected h5py to read BSDS300.hdf5: pip install h5py") from missing
    with h5py.File(folder / "BSDS300.hdf5", "r") as file:
        train, valid, test = (np.asarray(file[part]) for part in ("train", "validation", "test"))
    return train, valid, test


def recurring(x: np.ndarray) -> np.ndarray:
    """Columns whose smallest value occurs more than five times, as the published code has it."""
    return (x == x.min(0)).sum(0) > 5


def tenths(x: np.ndarray) -> Parts:
    """The last tenth tests, the last tenth of the rest validates."""
    test = len(x) // 10
    rest = x[:-test]
    valid = len(rest) // 10
    return rest[:-valid], rest[-valid:], x[-test:]


def standardised(train: np.ndarray, valid: np.ndarray, test: np.ndarray) -> Parts:
    """By mean and deviation of training and validation rows together."""
    both = np.vstack([train, valid])
    mean, deviation = both.mean(0), both.std(0)
    return (train - mean) / deviation, (valid - mean) / deviation, (test - mean) / deviation


@dataclass(frozen=True)
class Setting:
    """What the paper's table says of a set: the flow, and how it is trained; and the files that it is read from."""

    read: Callable[[Path], Parts]
    files: tuple[str, ...]
    published: float  # RQ-NSF (C), test nats
    transforms: int
    width: int
    dropout: float
    bins: int = 8
    blocks: int = 2
    batch: int = 512
    steps: int = 400_000
    rate: float = 5e-4


SETTINGS = {
    "power": Setting(power, ("household_power_consumption.txt",), 0.64, 10, 256, 0.0),
    "gas": Setting(gas, ("ethylene_CO.txt",), 13.09, 10, 256, 0.1),
    "hepmass": Setting(hepmass, ("1000_train.csv", "1000_test.csv"), -14.75, 20, 128, 0.2),
    "miniboone": Setting(
        miniboone, ("MiniBooNE_PID.txt",), -9.67, 10, 32, 0.2, bins=4, blocks=1, batch=128, steps=200_000, rate=3e-4
    ),
    "bsds300": Setting(bsds300, ("BSDS300.hdf5",), 157.54, 20, 128, 0.2),
}


PUBLISHED = {  # test nats in the order of SETTINGS; sources in docs/flows.md
    "Gaussian": (-7.74, -3.58, -27.93, -37.24, 96.67),
    "MADE": (-3.08, 3.56, -20.98, -15.59, 148.85),
    "RealNVP(10)": (0.17, 8.33, -18.71, -13.84, 153.28),
    "MAF(10)": (0.24, 10.08, -17.73, -12.24, 154.93),
    "FFJORD": (0.46, 8.59, -14.92, -10.43, 157.40),
    "MAF, with LU maps and residual networks": (0.45, 12.35, -17.03, -10.92, 156.95),
    "RQ-NSF (C)": (0.64, 13.09, -14.75, -9.67, 157.54),
    "RQ-NSF (AR)": (0.66, 13.09, -14.01, -9.22, 157.31),
}


class Kept(Layer):
    """y_i = g(x_i; theta_i) for the features that a coupling keeps, with no network; the others pass. x, y: (B, D)."""

    def __init__(self, keep: Tensor, spline: Spline) -> None:
        super().__init__()
        self.spline = spline
        self.theta = nn.Parameter(torch.zeros(spline.size, len(keep)))
        self.register_buffer("keep", keep)

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._moved(x, self.spline.call_and_ladj)

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._moved(y, self.spline.inverse_and_ladj)

    def _moved(self, x: Tensor, move: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        y, ladj = move(x, self.theta.expand(len(x), -1, -1))
        return torch.where(self.keep, y, x), torch.where(self.keep, ladj, 0.0).sum(1)


def built(setting: Setting, features: int) -> Flow:
    """Steps of an LU map with a permutation, a spline coupling and a spline of what it keeps; an LU map at the end."""
    layers: list[Layer] = []
    for i in range(setting.transforms):
        keep, spline = torch.arange(features) % 2 == i % 2, Spline(setting.bins, 3.0)
        hidden = (setting.width,) * (1 + 2 * setting.blocks)
        layers += [LULinear(features), Coupling(keep, 0, spline, hidden, dropout=setting.dropout), Kept(keep, spline)]
    return Flow([*layers, LULinear(features)], features)


def run(name: str, folder: Path, steps: int | None, seed: int) -> float:
    """Trains and prints; returns the mean log-likelihood of the test rows."""
    setting = SETTINGS[name]
    train, valid, test = (torch.from_numpy(part).float() for part in setting.read(folder))
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    flow = built(setting, train.shape[1]).to(device)
    print(f"{name}: {len(train):,} + {len(valid):,} + {len(test):,} rows of {train.shape[1]} numbers, on {device}")
    steps = steps or setting.steps
    optimiser = torch.optim.Adam(flow.parameters(), setting.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    train, best, kept, began = train.to(device), -math.inf, flow.state_dict(), time.perf_counter()

    @torch.no_grad()
    def score(rows: torch.Tensor) -> float:
        flow.eval()
        total = sum(flow.log_prob(part.to(device)).double().sum().item() for part in rows.split(8192))
        flow.train()
        return total / len(rows)

    for step in range(1, steps + 1):
        x = train[torch.randint(len(train), (setting.batch,), device=device)]
        optimiser.zero_grad(set_to_none=True)
        (-flow.log_prob(x).mean()).backward()
        nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        if step % max(1, steps // 100) == 0:
            now = score(valid)
            if now > best:
                best, kept = now, {k: v.clone() for k, v in flow.state_dict().items()}
            left = (time.perf_counter() - began) * (steps - step) / step
            print(f"step {step:,} of {steps:,}: {now:.3f} on validation rows, {left / 60:.0f} min left", flush=True)
    flow.load_state_dict(kept)
    nats = score(test)
    print(f"{name}: {nats:.3f} nats on test rows; published for RQ-NSF (C): {setting.published}")
    return nats


def absent(name: str, folder: Path) -> list[str]:
    """The files of a set that are not in the folder."""
    return [file for file in SETTINGS[name].files if not (folder / file).is_file()]


def table(found: dict[str, float]) -> str:
    """What was published, and below it what was found, by set; a set that was not tried has a dash."""
    lines = ["| model | " + " | ".join(map(str.upper, SETTINGS)) + " |", "|---" * (1 + len(SETTINGS)) + "|"]
    lines += [f"| {who} | " + " | ".join(f"{nats:.2f}" for nats in row) + " |" for who, row in PUBLISHED.items()]
    own = (f"{found[name]:.2f}" if name in found else "-" for name in SETTINGS)
    return "\n".join([*lines, "| this recipe | " + " | ".join(own) + " |"])


def main(words: list[str]) -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("name", choices=[*SETTINGS, "all"])
    ask.add_argument("--files", type=Path, required=True, metavar="DIR", help="where the files of the set lie")
    ask.add_argument("--steps", type=int, help="instead of the published number")
    ask.add_argument("--seed", type=int, default=0)
    told = ask.parse_args(words)
    gone = {name: absent(name, told.files) for name in (SETTINGS if told.name == "all" else (told.name,))}
    there = [name for name, files in gone.items() if not files]
    if not there:
        files = ", ".join(file for files in gone.values() for file in files)
        ask.error(
            f"expected {files} in {str(told.files)!r}, found none or not all: see --help for where they come from"
        )
    for name in gone.keys() - there:
        print(f"{name}: left out, {', '.join(gone[name])} not found")
    found = {name: run(name, told.files, told.steps, told.seed) for name in there}
    if told.name == "all":
        print(table(found))


if __name__ == "__main__":
    main(sys.argv[1:])
