"""The rungs below a model of images, in closed form: exact masses of shades, in the units of the model's own log p.

Rows are shades v in {0, ..., top}^D, flattened images. Every rung is a product of masses of single shades, each given
those before it, so that the masses of all images sum to one without dequantisation:

    independent        P(v_j): how often a shade was seen at a pixel, smoothed by how often in its channel
    gaussian           P(v_j | v_<j): the cell of v_j under N(m_j, s_j^2), the conditional of N(mean, S) at v_<j; the
                       cell of 0 begins at -infinity and that of `top` has no end; S the covariance, shrunk
    ppca               the same with S = U L U' + diag(r): principal components, and for each pixel what they leave
    mixture            sum_k pi_k of that, S_k = U C_k U' + diag(r), a mixture of Gaussians over the components' scores

A pixel keeps 1/(n + 4) of its mass for shades that its law does not expect. Smoothing and shrinking are chosen on
validation rows. For smooth shades the Gaussian rungs are the densities of those laws; near the ends, where most shades
of drawn images lie, they are what a density cannot be: masses.

Papers: Tipping, Bishop 1999 (probabilistic PCA); Ledoit, Wolf 2004 (shrinking a covariance).
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from ..nn.base import Mixture
from ..nn.heads import Normal
from ..nn.mirror import principal

Law = Callable[[np.ndarray], np.ndarray]
"""Shades, uint8 (n, D), to log masses, float64 (n,), nats."""

FITTED = 20_000  # rows that covariances are of
MOST = 4096  # pixels beyond which a covariance would cost minutes
COMPONENTS = 10
FLOOR = 0.05  # deviation, in shades, that no pixel's law is narrower than
FAR = 1e4
SMOOTH = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0)
SHRINK = (0.001, 0.01, 0.03, 0.1, 0.3)
WATCHED = 500  # validation rows that choose


def rungs(train: np.ndarray, valid: np.ndarray, channels: int, top: int, rank: int) -> Iterator[tuple[str, Law]]:
    """(name, law) of each rung, learned from shades (n, D), D = channels x sites; past MOST pixels the first alone."""
    valid = (valid if len(valid) else train)[:WATCHED]
    yield "independent", _best([independent(train, channels, top, smooth) for smooth in SMOOTH], valid)
    if train.shape[1] > MOST or len(train) < 2:
        return
    rows = torch.from_numpy(train[:FITTED]).double()
    mean, epsilon = rows.mean(0), 1 / (len(train) + 4)
    cover = (
        torch.from_numpy(np.cov(train[:FITTED].astype(np.float32), rowvar=False, bias=True))
        .double()
        .view(*[len(mean)] * 2)
    )
    own = cover.diagonal() + FLOOR**2
    shrunk = [(1 - share) * cover + torch.diag(share * cover.diagonal() + FLOOR**2) for share in SHRINK]
    yield "gaussian", _best([gaussian(mean, matrix, top, epsilon) for matrix in shrunk], valid)
    axes = principal(rows - mean, min(rank, len(mean) - 1)) if len(mean) > 1 else torch.zeros(0, 1).double()
    scores = (rows - mean) @ axes.T
    left = (own - ((scores.T @ scores / len(rows)) @ axes * axes).sum(0)).clamp(min=FLOOR**2)

    def around(centre: Tensor, inner: Tensor) -> Law:
        return gaussian(mean + centre @ axes, axes.T @ inner @ axes + torch.diag(left), top, epsilon)

    zero = torch.zeros(len(axes)).double()
    yield "ppca", around(zero, scores.T @ scores / len(rows))
    yield "mixture", mixture([(log, around(*part)) for log, *part in _components(scores)])


def _best(laws: list[Law], valid: np.ndarray) -> Law:
    return max(laws, key=lambda law: float(law(valid).mean()))


def independent(train: np.ndarray, channels: int, top: int, smooth: float) -> Law:
    """P(v_j) = (count_j(v) + smooth P_c(v)) / (n + smooth), P_c the law of the pixel's channel."""
    n, d = train.shape
    place = np.arange(d) * (top + 1)
    counts = np.zeros(d * (top + 1))
    for part in np.array_split(train, -(-n // 2000)):
        counts += np.bincount((part + place).ravel(), minlength=len(counts))
    counts = counts.reshape(channels, -1, top + 1)
    whole = counts.sum(1, keepdims=True)
    whole = (whole + 1 / (top + 1)) / (whole.sum(2, keepdims=True) + 1)
    log = np.log((counts + smooth * whole) / (n + smooth)).reshape(d, top + 1)
    return lambda v: log[np.arange(d), v].sum(1)


def gaussian(mean: Tensor, cover: Tensor, top: int, epsilon: float) -> Law:
    """prod_j P(v_j | v_<j): with S = L L', e = L^-1 (v - mean), the cell of v_j is e_j -+ 1/(2 s_j), s_j = L_jj."""
    root = torch.linalg.cholesky(cover)
    deviation = root.diagonal().clamp(min=FLOOR)

    def law(v: np.ndarray) -> np.ndarray:
        shade = torch.from_numpy(v).double()
        off = torch.linalg.solve_triangular(root, (shade - mean).T, upper=False).T * root.diagonal() / deviation
        low = torch.where(shade == 0, -FAR, off - 0.5 / deviation)
        high = torch.where(shade == top, FAR, off + 0.5 / deviation)
        gap = torch.where((shade == 0) | (shade == top), FAR, (1 / deviation).expand_as(off))
        each = Normal().log_mass(low, high, gap, off.new_zeros(len(off), 2, off.shape[1]))
        strange = off.new_tensor(math.log(epsilon / (top + 1)))
        return torch.logaddexp(each + math.log1p(-epsilon), strange).sum(1).numpy()

    return law


def mixture(parts: list[tuple[float, Law]]) -> Law:
    """log sum_k pi_k e^law_k, of (log pi_k, law_k)."""
    return lambda v: np.logaddexp.reduce([log + law(v) for log, law in parts], axis=0)


def _components(scores: Tensor) -> Iterator[tuple[float, Tensor, Tensor]]:
    """(log pi, centre, covariance) of Gaussians fitted to scores, (n, rank), by expectation-maximisation."""
    scale = scores.std(0, correction=0).clamp(min=1e-6)
    few = max(1, min(COMPONENTS, len(scores) // (10 * max(scores.shape[1], 1))))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        law = Mixture(scores.shape[1], few).double()
        law.start(scores / scale)
        factors = law.factors()[0]
        covers = torch.linalg.inv(factors @ factors.mT) * scale * scale[:, None]
        logs = law.logits.log_softmax(0).tolist()
    yield from zip(logs, law.mean.detach() * scale, covers, strict=True)
