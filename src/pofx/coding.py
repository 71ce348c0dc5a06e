"""The verbs of codes: encode, decode, reconstruct, interpolate, denoise, and anomaly scores with p-values."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .codecs.tabular_io import read_table, to_frame
from .codecs.writing import write_table
from .errors import CodecError, SpecError, Unsupported
from .models.autoencoders.denoising import Denoising
from .models.model import Model
from .models.variational import Variational
from .spec import Columns

RANKED = 8  # draws of a bound that ranks rows: on pendigits and letter ROC AUC as of 64 draws, or up to .007 more
CALIBRATION = 1000  # held-out rows whose scores p-values are read from


class Coding:
    """What `Fitted` can do with codes."""

    model: Model
    codec: Any
    joint: Any
    usual: np.ndarray  # scores of rows that were not trained on, rising

    def encode(self, source: Any, *, path: str | Path | None = None) -> Any:
        """The code of each row: columns z0, z1, ..., in the kind of container that came, and beside them the condition
        where the model has one, its likeliest class where it is missing.

        Raises Unsupported where the model has no codes.
        """
        import pyarrow as pa

        self._able("encode")
        _, kind, x, c = self._read(source)
        c = self.model.settled(self._own(x), c)
        z = self.model.encode(self._own(x), c).numpy()
        cells = [*z.T, *(self._cells_of(c).values() if c else ())]
        codes = pa.table(cells, names=self._names(z.shape[1]))
        return write_table([codes], path, like=None) if path is not None else to_frame(codes, kind)

    def decode(self, codes: Any, *, path: str | Path | None = None, allow_failed: bool = False) -> Any:
        """The rows that codes, and the condition beside them, stand for, as `encode` gave them: the centre of p(x|z,c).

        Raises CodecError where the columns are not z0, z1, ... and those of the condition, Unsupported where the model
        cannot, SpecError for codes that are none of this model's, and where a cell of the condition is missing.
        """
        self._makes("express", allow_failed)
        table, kind = read_table(codes)
        own = [f.name for f in self.joint.fields] if self.joint else []
        count = table.num_columns - len(own)
        wanted = self._names(max(count, 0))
        if count < 1 or set(table.column_names) != set(wanted):
            beside = f" of codes, and {', '.join(map(repr, own))} of the condition" if own else " of codes"
            raise CodecError(f"expected the columns z0, z1, ...{beside}, got {', '.join(table.column_names)}")
        z = torch.from_numpy(np.stack([np.asarray(table[name], np.float64) for name in wanted[:count]], 1))
        self.model.own_code(z)
        c = self._condition_of({k: table[name] for k, name in zip(own, wanted[count:], strict=True)}) if own else None
        return self._given_out(self.model.express(z, c) | (c or {}), kind, path)

    def _names(self, count: int) -> list[str]:
        """The columns of codes of `count` numbers: z0, z1, ..., and the condition's, with an underscore if taken."""
        names = [f"z{j}" for j in range(count)]
        for field in self.joint.fields if self.joint else ():
            name = field.name
            while name in names:
                name += "_"
            names.append(name)
        return names

    def reconstruct(self, source: Any, *, path: str | Path | None = None, allow_failed: bool = False) -> Any:
        """The rows that the codes of these rows stand for."""
        self._makes("express", allow_failed)
        _, kind, x, c = self._read(source)
        own, c = self._own(x), self.model.settled(self._own(x), c)
        return self._given_out(self.model.express(self.model.encode(own, c), c) | (c or {}), kind, path)

    def interpolate(
        self, a: Any, b: Any, *, steps: int = 8, path: str | Path | None = None, allow_failed: bool = False
    ) -> Any:
        """From each row of a to the row of b beside it: `steps` rows whose codes lie evenly on the line between theirs.

        A condition is that of the nearer end. Raises SpecError for fewer than two steps or different numbers of rows,
        Unsupported where codes have nothing between them (symbols).
        """
        self._makes("interpolate", allow_failed)
        x, near, kind = self._between(a, b, steps)
        return self._given_out(x | near, kind, path)

    def _between(self, a: Any, b: Any, steps: int) -> tuple[Columns, Columns, str]:
        """(rows on the way, their condition, kind of container)."""
        (_, kind, x, c), (_, _, y, d) = self._read(a), self._read(b)
        x, y = self._own(x), self._own(y)
        c, d = self.model.settled(x, c), self.model.settled(y, d)
        z, w = (self.model.encode(part, of) for part, of in ((x, c), (y, d)))
        if steps < 2 or len(z) != len(w):
            raise SpecError(
                f"expected two steps or more and as many rows in both, got {steps} steps, {len(z)} and {len(w)} rows"
            )
        share = torch.linspace(0, 1, steps, dtype=torch.float64).view(1, -1, 1)
        line = (z[:, None] * (1 - share) + w[:, None] * share).flatten(0, 1)
        late = np.tile(np.arange(steps) >= steps / 2, len(z))
        near = {k: np.where(late, np.repeat(d[k], steps), np.repeat(c[k], steps)) for k in c} if c and d else {}
        return self.model.express(line, near or None), near, kind

    def denoise(self, source: Any, *, path: str | Path | None = None) -> Any:
        """The rows without the noise that the model learned to take away."""
        self._able("restore")
        _, kind, x, c = self._read(source)
        return self._given_out(self.model.restore(self._own(x), c), kind, path)

    def denoising_score(self, source: Any) -> Any:
        """The slope of log p of noisy rows at these rows, d log p_s / dx, in one over the user's units.

        p_s is the density of standard scores v(x) = Phi^-1(F(x)) (of images: shades over their top) with Gaussian noise
        of deviation s, the `strength` of the fit; dv/dx is in the slope, but log dv/dx is not in p_s. Of a table, for
        each number `score.NAME` and `sigma.NAME`, the deviation of the noise about that value, in the units of NAME;
        missing where there is no slope (`Denoising.slopes`). Of images an array of their shape, s being `strength` x
        their top. Raises Unsupported for another model than `denoising` with Gaussian noise of one strength.
        """
        import pyarrow as pa

        if not isinstance(self.model, Denoising):
            raise Unsupported(f"model {self.model.name!r} has no slope of log p of noisy data: fit model='denoising'")
        _, kind, x, _ = self._read(source)
        found = self.model.slopes(self._own(x))
        if not self.model.rows:
            out = np.stack([slope for slope, _ in found.values()], -1)
            return out[..., 0] if out.shape[-1] == 1 else out
        told = {f"{what}.{name}": pair[i] for name, pair in found.items() for i, what in enumerate(("score", "sigma"))}
        return to_frame(pa.table(told), kind)

    def anomaly(self, source: Any, *, path: str | Path | None = None) -> Any:
        """The rows with two columns more: `anomaly`, -log p in nats (a bound of RANKED draws, or the squared error of
        rebuilding, without a likelihood), and `p_value`, the share of rows as strange among the n validation rows, at
        most CALIBRATION, (1 + #) / (n + 1): never below 1 / (n + 1), so that few such rows call nothing very strange,
        and none nothing at all.

        The scores of the same rows are the same in every call. A p-value below .01 in more than one row of a hundred
        says that the rows are not of the law that was learned. Raises Unsupported for a model that has neither.
        """
        rows, kind, x, c = self._read(source)
        score = strangeness(self.model, self._own(x), c) - (self._extra(rows, c) if self._likely() else 0.0)
        as_strange = len(self.usual) - np.searchsorted(self.usual, score, side="left")
        return self._beside(rows, kind, {"anomaly": score, "p_value": (1.0 + as_strange) / (len(self.usual) + 1)}, path)

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _likely(self) -> bool:
        return "log_prob" in self.model.abilities

    def _bound(
        self, x: Columns, c: Columns | None, draws: int | None, known: np.ndarray | None = None
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """log p(x|c), (n,), of the known cells alone where `known` is given; and, of a bound by importance, its
        standard error, its effective sample size and its draws. Raises Unsupported for draws where it is none.
        """
        self._able("log_prob" if known is None else "known")
        own = self._own(x)
        if self.model.weighs or draws is not None:
            bound = self.model.bound(own, c, draws, known)
            more = {"error": bound.error, "effective_size": bound.size, "draws": np.full(len(bound.value), bound.draws)}
            return bound.value, more
        return (self.model.log_prob(own, c) if known is None else self.model.marginal((own, known), c)), {}

    def _able(self, what: str) -> None:
        if what not in self.model.abilities:
            raise self.model._cannot(what)

    def _makes(self, what: str, allow_failed: bool) -> None:
        """Refuses to show what a model makes that cannot, or whose fit failed, or warns."""
        self._able(what)
        self._trust(allow_failed)

    def _trust(self, allow_failed: bool) -> None:
        """Refuses a model whose fit failed, or warns."""
        raise NotImplementedError

    def _own(self, x: Columns) -> Columns:
        return {f.name: x[f.name] for f in self.model.spec.fields}

    def _given_out(self, x: Columns, kind: str, path: str | Path | None) -> Any:
        full = self._made(x, 0)
        return self._written([full], path) if path is not None else self._out(full, kind)

    def _beside(self, rows: Any, kind: str, told: dict[str, np.ndarray], path: str | Path | None) -> Any:
        """The rows with what is told of each."""
        raise NotImplementedError

    def _read(self, source: Any) -> tuple[Any, str, Columns, Columns | None]:
        """(rows, kind of container, stored columns, those of the condition) of a file, frame or array."""
        raise NotImplementedError

    def _made(self, x: Columns, first: int, plain: bool = False) -> Any:
        raise NotImplementedError

    def _out(self, rows: Any, kind: str) -> Any:
        """Rows as what came in."""
        raise NotImplementedError

    def _written(self, rows: Iterable[Any], path: str | Path) -> int:
        raise NotImplementedError

    def _cells_of(self, c: Columns) -> dict[str, Any]:
        """The condition's stored columns as cells of a table, by name."""
        raise NotImplementedError

    def _condition_of(self, cells: dict[str, Any]) -> Columns:
        """The condition's stored columns of such cells."""
        raise NotImplementedError

    def _extra(self, rows: Any, c: Columns | None) -> np.ndarray | float:
        """What is added to the model's log p of rows."""
        raise NotImplementedError


def strangeness(model: Model, x: Columns, c: Columns | None) -> np.ndarray:
    """-log p of each row, (n,), or the squared error of rebuilding it; Unsupported where the model has neither.

    In place of a bound that is drawn for it, that of RANKED draws: rows are ranked alike in an eighth of the time.
    """
    if isinstance(model, Variational):
        return -model.bound(x, c, draws=RANKED).value
    if "log_prob" in model.abilities:
        return -model.log_prob(x, c)
    return model.misfit(x, c)
