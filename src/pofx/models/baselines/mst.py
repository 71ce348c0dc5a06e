"""mst: a tree of pairs of fields, learned from noisy counts where privacy is asked for."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ...errors import SpecError
from ...privacy import Budget, deviation, onto_simplex
from ...spec import Columns, Given, Spec
from ..model import Rows
from .independent import Independent

SHARES = (0.25, 0.25, 0.5)  # of rho: counts of each field, choices of the pairs, counts of the pairs
LEAST, MOST = 4, 32  # tokens of a field by default: half the root of its rows, between these
ROUNDS = 50  # of raking a pair to its margins


class MST(Independent):
    """p(x) = P(t_r) prod_(j other than r) P(t_j | t_parent(j)) prod_j P_j(x_j | t_j), t_j the token of field j.

    A field has at most about `bins` tokens (levels, or runs of them; atoms and bins of numbers); inside a token the law
    is the field's own. With counts of one field M_j and of a pair M_ij, the tree is made in three steps, each with
    noise where a budget of privacy is given (`fit_noised`) and exact without:

        1. M_j + N(0, s_1^2) for every field;
        2. F - 1 times a pair that joins two parts of the forest, by the exponential mechanism on the scores
           |M_ij - M_i M_j / n|_1 - sqrt(2 / pi) (s_3 K_i K_j + sum sqrt(M_i M_j / n)), the dependence that counting
           the pair would show beyond the noise that it would add and what counts show by chance;
        3. M_ij + N(0, s_3^2) for these pairs.

    Steps 1 and 3 are then made to agree: a field's counts are the mean of all that was counted of it, weighted by one
    over the variance and brought to n and to 0 or more; a pair's are brought to the simplex and raked to its fields'.
    A token of a parent is counted with `prior` further rows in which the child follows its own law,
    P(b | a) = (M_ab + prior P(b)) / (M_a + prior), so that little is believed of what was seen seldom. Sums over the
    tree are exact: draws, likelihoods, and both given any set of values or any known cells, by passing messages.

    Shapes: tokens (n, F); table (F, K, K), row a of table j being P(t_j | t_parent(j) = a). The condition is ignored.

    Papers: McKenna, Miklau, Sheldon 2021, Winning the NIST contest; McKenna et al. 2022, AIM (the noise in the scores);
    Chow, Liu 1968 (trees); Pearl 1982 (messages).

        >>> pofx.fit("adult.csv", model="mst", epsilon=1.0)  # doctest: +SKIP
    """

    def __init__(self, spec: Spec, bins: int | None = None, prior: float = 10.0) -> None:
        super().__init__(spec)
        if bins is None:
            bins = int(min(MOST, max(LEAST, math.sqrt(max(f.rows for f in spec.fields)) / 2)))
        if bins < 2:
            raise SpecError(f"expected at least two bins, got {bins}")
        if prior <= 0:
            raise SpecError(f"expected a prior above zero, got {prior}")
        self.prior = prior
        self.tokens = [field.tokens(bins) for field in spec.fields]
        self.sizes = [tokens.sizes[0] for tokens in self.tokens]
        count, k = len(self.sizes), max(self.sizes)
        self.register_buffer("order", torch.arange(count))  # parents come first
        self.register_buffer("parent", torch.full((count,), -1))
        table = torch.zeros(count, k, k, dtype=torch.float64)
        for j, tokens in enumerate(self.tokens):
            table[j, :, : self.sizes[j]] = torch.from_numpy(tokens.marginal[:, 0])
        self.register_buffer("table", table)

    # -- learning ----------------------------------------------------------------------------------------------------

    def fit_closed(self, x: Columns, c: Columns | None = None) -> None:
        self.fit_noised(x, Budget(math.inf), math.inf)

    def fit_noised(self, x: Columns, budget: Budget, rho: float) -> None:
        """Learns the tree from counts with the noise that `rho` of the budget buys; infinite: from the counts."""
        token, _, seen = self._encode(x)
        count = len(self.sizes)
        one, chosen, two = (share * rho for share in SHARES)
        single = [self._counts(token, seen, (j,)) for j in range(count)]
        noisy = [budget.histogram(m, one / count, "counts of fields") for m in single]
        n = max(float(np.mean([m.sum() for m in noisy])), 1.0)
        margins = [onto_simplex(m, n) for m in noisy]
        pairs = max(count - 1, 1)
        edges = self._tree(token, seen, margins, n, budget, chosen / pairs, deviation(two / pairs))
        joint = {e: budget.histogram(self._counts(token, seen, e), two / pairs, "counts of pairs") for e in edges}
        margins = self._agreed(noisy, joint, deviation(one / count), deviation(two / pairs), n)
        self._settle({e: self._raked(m, margins[e[0]], margins[e[1]], n) for e, m in joint.items()}, margins, n)

    def _encode(self, x: Columns) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        parts = [f.encode(x[f.name], t) for f, t in zip(self.spec.fields, self.tokens, strict=True)]
        token, inside, seen = (np.stack(part, 1) for part in zip(*parts, strict=True))
        return token, inside, seen

    def _counts(self, token: np.ndarray, seen: np.ndarray, fields: tuple[int, ...]) -> np.ndarray:
        """How many rows have each token, or each pair of them; a row with a cell that was never seen counts nowhere."""
        some = token[seen[:, fields].all(1)][:, fields]
        sizes = [self.sizes[j] for j in fields]
        return np.bincount(np.ravel_multi_index(tuple(some.T), sizes), minlength=math.prod(sizes)).reshape(sizes)

    def _tree(
        self, token: np.ndarray, seen: np.ndarray, margins: list[np.ndarray], n: float,
        budget: Budget, rho: float, sigma: float,
    ) -> list[tuple[int, int]]:  # fmt: skip
        """The pairs of the tree, chosen one after the other among those that join two parts of the forest."""
        count = len(self.sizes)
        every = [(i, j) for i in range(count) for j in range(i + 1, count)]
        scores = np.array([self._score(token, seen, e, margins, n, sigma) for e in every])
        part, edges = np.arange(count), []
        for _ in range(count - 1):
            open_ = np.array([k for k, (i, j) in enumerate(every) if part[i] != part[j]])
            i, j = every[open_[budget.choose(scores[open_], rho, "choices of pairs")]]
            edges.append((i, j))
            part[part == part[j]] = part[i]
        return edges

    def _score(
        self, token: np.ndarray, seen: np.ndarray, edge: tuple[int, int], margins: list[np.ndarray], n: float,
        sigma: float,
    ) -> float:  # fmt: skip
        i, j = edge
        apart = np.abs(self._counts(token, seen, edge) - np.outer(margins[i], margins[j]) / n).sum()
        chance = np.sqrt(np.outer(margins[i], margins[j]) / n).sum()
        return float(apart - math.sqrt(2 / math.pi) * (sigma * self.sizes[i] * self.sizes[j] + chance))

    def _agreed(
        self, noisy: list[np.ndarray], joint: dict[tuple[int, int], np.ndarray], one: float, two: float, n: float
    ) -> list[np.ndarray]:
        """Each field's counts from all that was counted of it."""
        out = []
        for j, own in enumerate(noisy):
            told = [(own, max(one, 1e-9) ** 2)]
            for e, m in joint.items():
                if j in e:
                    told.append((m.sum(1 - e.index(j)), max(two, 1e-9) ** 2 * m.shape[1 - e.index(j)]))
            weight = np.array([1 / variance for _, variance in told])
            out.append(onto_simplex(sum(w * m for (m, _), w in zip(told, weight, strict=True)) / weight.sum(), n))
        return out

    def _raked(self, noisy: np.ndarray, a: np.ndarray, b: np.ndarray, n: float) -> np.ndarray:
        """A pair's law near noisy counts, with the laws a / n and b / n of its fields."""
        even = np.outer(a, b) / n**2
        law = onto_simplex(noisy, n) / n
        law = (n * law + even) / (n + 1)
        for _ in range(ROUNDS):
            law *= np.divide(a / n, law.sum(1), out=np.zeros(len(a)), where=law.sum(1) > 0)[:, None]
            law *= np.divide(b / n, law.sum(0), out=np.zeros(len(b)), where=law.sum(0) > 0)
        return law

    def _settle(self, joint: dict[tuple[int, int], np.ndarray], margins: list[np.ndarray], n: float) -> None:
        """The tree as a root and a table for each field; a token of no mass keeps 1/(n+1) of its field's own law."""
        law = [(m + t.marginal[:, 0]) / (n + 1) for m, t in zip(margins, self.tokens, strict=True)]
        order, parent = [0], np.full(len(self.sizes), -1)
        for j in order:
            for e in joint:
                if j in e and (other := e[1 - e.index(j)]) not in order:
                    order.append(other)
                    parent[other] = j
        self.table.zero_()
        for j in order:
            k, up = self.sizes[j], int(parent[j])
            if up < 0:
                self.table[j, :, :k] = torch.from_numpy(law[j])
                continue
            pair = joint[up, j] if (up, j) in joint else joint[j, up].T
            rows = n * pair + self.prior * law[j]
            self.table[j, : len(pair), :k] = torch.from_numpy(rows / rows.sum(1, keepdims=True))
        self.order.copy_(torch.tensor(order))
        self.parent.copy_(torch.from_numpy(parent))

    # -- messages ----------------------------------------------------------------------------------------------------

    def _branches(self) -> Iterator[tuple[int, int, np.ndarray]]:
        """(field, its parent, its table), parents first; the root has no parent and a table of one row."""
        table, parent = self.table.cpu().numpy(), self.parent.tolist()
        for j in self.order.tolist():
            up = parent[j]
            yield j, up, table[j, : self.sizes[up] if up >= 0 else 1, : self.sizes[j]]

    def _beliefs(self, weight: list[np.ndarray]) -> list[np.ndarray]:
        """For each field, the weight of its tokens times what all fields below it say, (n, K_j) or (1, K_j)."""
        belief = [np.array(w) for w in weight]
        for j, up, table in reversed(list(self._branches())):
            if up >= 0:
                belief[up] = belief[up] * (belief[j] @ table.T)
        return belief

    def _log_total(self, token: np.ndarray, known: np.ndarray) -> np.ndarray:
        """log P of the known tokens, the others summed over, (n,)."""
        weight = [np.ones((len(token), k)) for k in self.sizes]
        for j, w in enumerate(weight):
            w[known[:, j]] = 0.0
            w[known[:, j], token[known[:, j], j]] = 1.0
        root, _, table = next(self._branches())
        with np.errstate(divide="ignore"):
            return np.log((self._beliefs(weight)[root] * table).sum(1))

    # -- drawing -----------------------------------------------------------------------------------------------------

    def decode(
        self, z: Tensor, c: Columns | None = None, given: Given | None = None, known: Rows | None = None
    ) -> Columns:
        u, given = z.cpu().numpy().copy(), given or {}
        inside = [
            f.allow(t, given[f.name]) if f.name in given else t
            for f, t in zip(self.spec.fields, self.tokens, strict=True)
        ]
        weight = [(a.marginal / np.maximum(b.marginal, 1e-300)).T for a, b in zip(inside, self.tokens, strict=True)]
        if known is not None:
            token, _, seen = self._encode(known[0])
            for j in range(len(weight)):
                mine = known[1][:, j] & seen[:, j]
                weight[j] = np.where(mine[:, None], np.eye(self.sizes[j])[token[:, j]], weight[j])
        drawn = self._drawn(u, self._beliefs(weight))
        out = {}
        for j, (field, tokens) in enumerate(zip(self.spec.fields, inside, strict=True)):
            held = known is not None and known[1][:, j]
            told = tokens if field.name in given else self.tokens[j]
            x = field.decode(drawn[:, j], u[:, j], told)
            out[field.name] = np.where(held, known[0][field.name], x) if known is not None else x
        return out

    def _drawn(self, u: np.ndarray, belief: list[np.ndarray]) -> np.ndarray:
        """Tokens (n, F) at levels u, parents first; u becomes the level inside each."""
        out, rows = np.zeros(u.shape, np.int64), np.arange(len(u))
        for j, up, table in self._branches():
            law = table[out[:, up] if up >= 0 else np.zeros(len(u), np.int64)] * belief[j]
            upto = np.cumsum(law, 1)
            level = u[:, j] * upto[:, -1]
            last = law.shape[1] - 1 - (law[:, ::-1] > 0).argmax(1)
            k = np.minimum((upto <= level[:, None]).sum(1), last)
            mass = np.maximum(law[rows, k], 1e-300)
            u[:, j] = np.clip((level - upto[rows, k] + mass) / mass, 0.0, 1 - 1e-12)
            out[:, j] = k
        return out

    # -- scoring -----------------------------------------------------------------------------------------------------

    def cells(self, x: Columns, c: Columns | None = None) -> np.ndarray:
        token, inside, seen = self._encode(x)
        out, rows = inside.copy(), seen.all(1)
        with np.errstate(divide="ignore"):
            for j, up, table in self._branches():
                out[:, j] += np.log(table[token[:, up] if up >= 0 else 0, token[:, j]])
        if not rows.all():  # a cell that was never seen tells nothing of the others: sums over it, field by field
            some, known, before = token[~rows], np.zeros_like(seen[~rows]), np.zeros((~rows).sum())
            for j in self.order.tolist():
                known[:, j] = seen[~rows, j]
                upto = self._log_total(some, known)
                out[~rows, j] = inside[~rows, j] + upto - before
                before = upto
        return out

    def marginal(self, rows: Rows, c: Columns | None = None) -> np.ndarray:
        token, inside, seen = self._encode(rows[0])
        return self._log_total(token, rows[1] & seen) + np.where(rows[1], inside, 0.0).sum(1)


MODEL = MST
