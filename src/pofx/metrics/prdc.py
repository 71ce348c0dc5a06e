"""How a set of examples covers another one, in a space of features: precision, recall, density, coverage, distances.

With B_k(y, Y) the ball around y that reaches its k-th nearest neighbour in Y, n examples x and m real ones y:

    precision = share of x in some B_k(y, Y)        recall   = share of y in some B_k(x, X)
    density   = mean over x of #{y: x in B_k(y, Y)} / k      coverage = share of y whose B_k(y, Y) holds an x

Two sets of one law have precision, recall and coverage near .95 at k = 5 and density 1. The Fréchet distance of normal
laws with the moments of the two sets is |m - m'|^2 + tr(S + S' - 2 (S S')^(1/2)).

Papers: Kynkäänniemi et al. 2019, Improved Precision and Recall Metric; Naeem et al. 2020, Reliable Fidelity and
Diversity Metrics; Dowson, Landau 1982; Heusel et al. 2017 (FID); Bińkowski et al. 2018, Demystifying MMD GANs (KID).
"""

import numpy as np

from .distance import in_blocks

NEIGHBOURS = 5
BLOCK = 1 << 22


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances, (n, d) and (m, d) to (n, m), never below zero."""
    return np.maximum(np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * a @ b.T, 0)


def nearest(a: np.ndarray, b: np.ndarray, neighbour: int = 1) -> np.ndarray:
    """The distance from each of a to its k-th nearest of b, (n,); pass k + 1 where b is a itself."""
    return np.sqrt(in_blocks(lambda rows: distances(a[rows], b), (len(a), len(b)), BLOCK, neighbour)[0])


def prdc(x: np.ndarray, y: np.ndarray, k: int = NEIGHBOURS) -> dict[str, float]:
    """Precision, recall, density and coverage of x, (n, d), against real y, (m, d); both of more than k examples."""
    reach, own = nearest(y, y, k + 1), nearest(x, x, k + 1)
    apart = np.sqrt(distances(x, y))
    inside = apart <= reach
    return {
        "precision": float(inside.any(1).mean()),
        "recall": float((apart <= own[:, None]).any(0).mean()),
        "density": float(inside.sum(1).mean() / k),
        "coverage": float(inside.any(0).mean()),
    }


def frechet(x: np.ndarray, y: np.ndarray, ddof: int = 0) -> float:
    """The Fréchet distance of two sets, by eigenvalues, so that no root is imaginary; `ddof` as in a covariance.

    With S = A'A, S' = B'B of centred examples tr (S S')^(1/2) is the sum of the singular values of A B', which is the
    smaller matrix where there are fewer examples than numbers.
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    apart = np.square(x.mean(0) - y.mean(0)).sum()
    if max(len(x), len(y)) < x.shape[1]:
        a, b = ((v - v.mean(0)) / np.sqrt(len(v) - ddof) for v in (x, y))
        shared = np.linalg.svd(a @ b.T, compute_uv=False).sum()
        return float(max(apart + np.square(a).sum() + np.square(b).sum() - 2 * shared, 0.0))
    a, b = (np.cov(v, rowvar=False, ddof=ddof).reshape(v.shape[1], -1) for v in (x, y))
    values, vectors = np.linalg.eigh(a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ b @ root), 0)).sum()
    return float(max(apart + np.trace(a) + np.trace(b) - 2 * shared, 0.0))


def kernel_distance(x: np.ndarray, y: np.ndarray) -> float:
    """The squared maximum mean discrepancy under k(a, b) = (a . b / d + 1)^3, without bias: below 0 by chance.

    Of all pairs but of an example with itself; two examples a side at least (KID of Inception's features).
    """
    x, y = x.astype(np.float64), y.astype(np.float64)

    def total(a: np.ndarray, b: np.ndarray) -> float:
        step = max(1, BLOCK // len(b))
        return sum(float(((a[i : i + step] @ b.T / a.shape[1] + 1) ** 3).sum()) for i in range(0, len(a), step))

    def own(a: np.ndarray) -> float:
        itself = ((np.square(a).sum(1) / a.shape[1] + 1) ** 3).sum()
        return (total(a, a) - float(itself)) / (len(a) * (len(a) - 1))

    return own(x) + own(y) - 2 * total(x, y) / (len(x) * len(y))
