"""Sounds as vectors: levels of spectra, uint8 (n, T, F), to what a network hears in them, and to statistics of cepstra.

Papers: Kilgour et al. 2019, Fréchet Audio Distance (features of a network).
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

STEPS, FEW, BATCH, RATE = 700, 60, 64, 3e-3  # of the recogniser: FEW and one for 4 examples, at most STEPS
WARM = 30  # steps in which its rate rises
HIDDEN = 7  # at most a seventh of the frames, and of the frequencies, is hidden from it at a time
FEATURES = 64  # that it recognises by
MOVED = 8  # frames, and
LOUDER = 16  # steps of a level, by which its examples differ from call to call
MELS, CEPSTRA = 26, 13
HEARD = 16  # steps above silence

Features = Callable[[np.ndarray], np.ndarray]
"""Levels, uint8 (n, T, F), to features, float64 (n, d)."""


def _halved(a: int, b: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(a, b, 4, 2, 1), nn.BatchNorm2d(b), nn.ReLU()


class Recogniser(nn.Module):
    """A small convolutional network of labels, learned from levels (n, T, F) and codes (n,), -1 where there is none."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_halved(1, 16), *_halved(16, 32), *_halved(32, 64), *_halved(64, 64), nn.AdaptiveAvgPool2d((2, 4)),
            nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 8, FEATURES), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(FEATURES, classes)

    @classmethod
    def random(cls, seed: int = 0) -> "Recogniser":
        """The network that has learned nothing."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(1).eval()

    @classmethod
    def learn(cls, levels: np.ndarray, codes: np.ndarray, seed: int = 0, most: int = STEPS) -> "Recogniser":
        """The network of sounds that have a label, after `most` steps at most."""
        rows = np.flatnonzero(codes >= 0)
        steps = min(most, FEW + len(rows) // 4)
        x, y = torch.from_numpy(levels), torch.from_numpy(codes.astype(np.int64))
        rng = np.random.default_rng(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = cls(int(codes.max()) + 1)
            how = torch.optim.AdamW(net.parameters(), RATE, weight_decay=0.01)
            for step in range(steps):
                some = torch.from_numpy(rng.choice(rows, BATCH))
                v = torch.roll(x[some], int(rng.integers(MOVED + 1)), 1).float()
                v = v + (v > 0) * torch.from_numpy(rng.normal(0, LOUDER, (BATCH, 1, 1)).astype(np.float32))
                for axis in (1, 2):  # some frames and some frequencies are not heard
                    size = v.shape[axis]
                    first, many = int(rng.integers(size)), int(rng.integers(size // HIDDEN + 1))
                    v.narrow(axis, first, min(many, size - first)).zero_()
                how.param_groups[0]["lr"] = RATE * min(1, (step + 1) / WARM) * (1 - step / steps)
                loss = F.cross_entropy(net(v), y[some])
                how.zero_grad(), loss.backward(), how.step()
        return net.eval()

    def seen(self, levels: Tensor) -> Tensor:
        """What it recognises by, (n, FEATURES)."""
        return self.body(levels.unsqueeze(1) / 127.5 - 1)

    def forward(self, levels: Tensor) -> Tensor:
        return self.head(self.seen(levels))

    @torch.no_grad()
    def features(self, levels: np.ndarray) -> np.ndarray:
        """`Features`."""
        return torch.cat([self.seen(part.float()) for part in torch.from_numpy(levels).split(256)]).double().numpy()

    @torch.no_grad()
    def labels(self, levels: np.ndarray) -> np.ndarray:
        """The likeliest code of each, (n,)."""
        return torch.cat([self(part.float()).argmax(1) for part in torch.from_numpy(levels).split(256)]).numpy()


def cepstra(rate: int, decibels: float, train: np.ndarray) -> Features:
    """Means, deviations and mean moves over frames of mel-frequency cepstra, and the share of frames that are heard, on
    the scale of training sounds; `decibels` of 255 steps.
    """
    bank = mel_bank(rate, train.shape[2])
    turn = np.cos(np.pi / MELS * np.outer(np.arange(CEPSTRA), np.arange(MELS) + 0.5))

    def raw(levels: np.ndarray) -> np.ndarray:
        out = []
        for x in levels:
            heard = x.max(1) > HEARD
            some = x[heard] if heard.sum() > 1 else x[:2]
            energy = 10 ** ((some / 255.0 - 1) * decibels / 10) @ bank.T
            c = np.log(energy + 1e-10) @ turn.T / MELS
            out.append(np.r_[c.mean(0), c.std(0), np.abs(np.diff(c, axis=0)).mean(0), heard.mean()])
        return np.array(out)

    own = raw(train)
    middle, spread = own.mean(0), own.std(0) + 1e-9
    return lambda levels: (raw(levels) - middle) / spread


def mel_bank(rate: int, bins: int) -> np.ndarray:
    """Triangles over frequencies that stand evenly on the mel scale, (MELS, bins)."""
    mel = np.linspace(0, 2595 * np.log10(1 + rate / 1400), MELS + 2)
    at = 700 * (10 ** (mel / 2595) - 1) * 2 * (bins - 1) / rate
    place = np.arange(bins)
    up, down = ((place - a) / (b - a) for a, b in ((at[:-2, None], at[1:-1, None]), (at[2:, None], at[1:-1, None])))
    return np.clip(np.minimum(up, down), 0, None)
