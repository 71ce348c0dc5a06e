"""gaussian_copula: the fields' own laws, joined by a matrix of correlations."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ...field import Field
from ...spec import Columns, Given, Spec
from ..lifted import Lifted, intervals, to_normal
from ..model import Batch, Rows

FLOOR = 0.05


def shrunk(correlation: np.ndarray, n: np.ndarray) -> np.ndarray:
    """A correlation matrix measured on n rows, (fields, fields), its other entries scaled down by their noise.

    They lose the share sum Var(r) / sum r^2, Var(r) = (1 - r^2)^2 / n (Schaefer & Strimmer 2005).
    """
    away = ~np.eye(len(correlation), dtype=bool)
    total = np.square(correlation[away]).sum()
    noise = (np.square(1 - correlation[away] ** 2) / np.maximum(n[away], 1)).sum()
    return np.where(away, correlation * (1 - min(1.0, noise / total) if total > 0 else 0.0), 1.0)


def positive(matrix: np.ndarray) -> np.ndarray:
    """A correlation matrix near a symmetric one: eigenvalues at least FLOOR, then the diagonal scaled back to one.

    Fields with wide cells need no common normal law, so that the matrix may have negative eigenvalues; a matrix near
    singular would leave the draws inside a cell hardly any weight.
    """
    values, vectors = np.linalg.eigh(matrix)
    raised = (vectors * np.maximum(values, FLOOR)) @ vectors.T
    scale = 1 / np.sqrt(np.diag(raised))
    return raised * scale * scale[:, None]


def principal(matrix: np.ndarray, rank: int) -> np.ndarray:
    """W W' + s^2 I of the first `rank` eigenvectors, s^2 the mean of the other eigenvalues; the diagonal is one."""
    values, vectors = np.linalg.eigh(matrix)
    left = len(values) - rank
    if left < 1:
        return matrix
    noise = values[:left].mean()
    kept = (vectors[:, left:] * (values[left:] - noise)) @ vectors[:, left:].T + noise * np.eye(len(values))
    scale = 1 / np.sqrt(np.diag(kept))
    return kept * scale * scale[:, None]


def hermite(fields: tuple[Field, ...], terms: int = 12, grid: int = 4096) -> np.ndarray:
    """c_jk = E[m_j h_k(z)] / sd(m_j), (fields, terms): the series of m_j = E[z | cell of field j], k = 1 to `terms`.

    h_k are the orthonormal Hermite polynomials, so that normals of correlation r give m_i and m_j the correlation
    sum_k c_ik c_jk r^k (Mehler 1866).
    """
    u = (np.arange(grid) + 0.5) / grid
    z = to_normal(torch.from_numpy(u)).numpy()
    h = [np.ones(grid), z]
    for k in range(1, terms):
        h.append((z * h[k] - math.sqrt(k) * h[k - 1]) / math.sqrt(k + 1))
    m = centres(*intervals(fields, {field.name: field.lower(u) for field in fields}))
    spread = m.std(0)
    return (m.T @ np.stack(h[1:], 1) / grid) / np.where(spread > 1e-9, spread, np.inf)[:, None]


def behind(wanted: np.ndarray, series: np.ndarray) -> np.ndarray:
    """The correlations r of the normals for which sum_k c_ik c_jk r^k is `wanted`, by bisection in [-0.999, 0.999]."""
    low, high = np.full(wanted.shape, -0.999), np.full(wanted.shape, 0.999)
    for _ in range(20):
        r = (low + high) / 2
        value = np.zeros_like(r)
        for c in series.T[::-1]:
            value = r * (np.outer(c, c) + value)
        low, high = np.where(value < wanted, r, low), np.where(value < wanted, high, r)
    return np.where(np.eye(len(r), dtype=bool), 1.0, np.where(wanted == 0, 0.0, (low + high) / 2))


def centres(lo: np.ndarray, width: np.ndarray) -> np.ndarray:
    """E[z | z in cell] = (phi(a) - phi(b)) / (Phi(b) - Phi(a)), z standard normal, Phi(a) = lo, Phi(b) = lo + width."""
    low, high = torch.from_numpy(lo), torch.from_numpy(np.minimum(lo + width, 1.0))
    phi = [torch.exp(-0.5 * torch.special.ndtri(u).square()) / math.sqrt(2 * math.pi) for u in (low, high)]
    middle = to_normal((low + high) / 2).numpy()
    return np.where(width > 1e-6, (phi[0] - phi[1]).numpy() / np.maximum(width, 1e-300), middle)


def correlations(z: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the correlations of the columns of z, the number of rows behind each), each of rows that have seen both.

    z, seen: (n, fields). 0 for a constant column, 1 on the diagonal.
    """
    w = seen.astype(np.float64)
    rows = w.T @ w
    centred = w * (z - (w * z).sum(0) / np.maximum(np.diag(rows), 1))
    means = centred.T @ w / np.maximum(rows, 1)  # of column i where j is seen
    spread = np.sqrt(np.maximum(np.square(centred).T @ w - rows * means**2, 0))
    both = spread * spread.T
    matrix = (centred.T @ centred - rows * means * means.T) / np.where(both > 1e-18, both, np.inf)
    np.fill_diagonal(matrix, 1.0)
    return matrix, rows


class GaussianCopula(Lifted):
    """p(x) = P(z in cell(x)), z ~ N(0, R), the cells Phi^-1[F_j(x_j-), F_j(x_j)): the fields' laws joined by R.

    R: (fields, fields). The correlations of E[z_j | cell] over the data are carried back to those of z by Mehler's
    formula, so that wide cells (levels, atoms) do not weaken R. The condition is ignored.

    log p(x) = log E_U c(u) + sum_j log P_j(x_j), c(u) = N(z; 0, R) / N(z; 0, I), z = Phi^-1(u), U uniform in the cell;
    the mean over `samples` draws of U makes it a lower bound in expectation, in nats. No conditional draws: those need
    truncated normals of every dimension.

    Paper: Nelsen 2006, An Introduction to Copulas; Rueschendorf 2009, On the distributional transform.

        >>> pofx.fit("adult.csv", model="gaussian_copula")  # doctest: +SKIP
    """

    family = "baselines"
    abilities = frozenset({"sample", "log_prob", "bound", "unknown"})
    trained = False

    rank: int | None = None  # of the principal components that R keeps, all of them without

    def __init__(self, spec: Spec, samples: int = 64) -> None:
        super().__init__(spec, codes=False)
        self.samples = samples
        self.register_buffer("correlation", torch.eye(len(spec.fields), dtype=torch.float64))

    def see_condition(self, c: Columns | None, n: int) -> Batch:
        return torch.zeros(n, 0), torch.zeros(n, 0), torch.zeros(n, 0, dtype=torch.int64)

    def fit_closed(self, x: Columns, c: Columns | None = None) -> None:
        fields = self.spec.fields
        seen = np.stack([~(f.absent(x[f.name]) & f.unknown) for f in fields], 1)
        wanted = shrunk(*correlations(centres(*intervals(fields, x)), seen))
        matrix = positive(behind(wanted, hermite(fields)))
        self.correlation.copy_(torch.from_numpy(matrix if self.rank is None else principal(matrix, self.rank)))

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        size = (n, len(self.spec.fields))
        return torch.randn(size, generator=generator, dtype=torch.float64, device=generator.device)

    def decode(
        self, z: Tensor, c: Columns | None = None, given: Given | None = None, known: Rows | None = None
    ) -> Columns:
        self.refuse(given, known)
        root = torch.linalg.cholesky(self.correlation.double())
        return self.sight.lower(torch.special.ndtr(z.to(root.device) @ root.T), torch.zeros(len(z), 0))

    def log_prob(self, x: Columns, c: Columns | None = None) -> np.ndarray:
        matrix = self.correlation.double()
        tilt = torch.linalg.inv(matrix) - torch.eye(len(matrix), dtype=torch.float64, device=matrix.device)
        half = -0.5 * torch.linalg.slogdet(matrix)[1]

        def weigh(batch: Batch) -> Callable[[Tensor], Tensor]:
            lo, width, _, extra = batch[:4]
            base = width.log().sum(1) + extra + half

            def log_weight(u: Tensor) -> Tensor:
                z = to_normal(lo + width * u)
                return base - 0.5 * ((z @ tilt) * z).sum(1)

            return log_weight

        return self.importance(x, c, self.samples, len(matrix), weigh)

    @property
    def device(self) -> torch.device:
        """Where the correlations are."""
        return self.correlation.device


MODEL = GaussianCopula
