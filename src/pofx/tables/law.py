"""The law of one table: p(row, numbers of its children | its parent, its rank, its earlier siblings)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from ..codecs.relations import Link, Member, Relations
from ..codecs.table import TableCodec
from ..errors import SpecError, Unsupported
from ..field import MISSING, Field
from ..fields import Bounded, Category, Count, Datetime, Number
from ..models import create
from ..models.model import Model
from ..spec import Columns, Given, Spec
from .household import Household, Siblings, clock_of, followed, gathered, in_unit, late, with_missing
from .moments import Passing

ANCESTORS = 24  # columns of parents and theirs that a child sees; all of its parent's in any case
REFERRED = 12  # columns of a referred row that are learned, by which it is found again


@dataclass
class Law:
    """One table's law, of named columns:

    own:a, the column a;  after:t, at:t, moments (moments.py);  children:c.k, the number of rows of c by its key k;
    to:k:b, the column b of the row that the further foreign key k leads to;
    and of the context  up1:b, up2:b, columns of the parent and of its parent;  rank;  earlier1:x, of siblings before.

    p(row | context) is any_order's: the chain rule over the columns, each given the context and the ones before.
    timely: whether all rows of the table stood in order of time.
    """

    member: Member
    codec: TableCodec | None
    memory: int = 1
    time: str | None = None
    timely: bool = False
    passing: list[Passing] = field(default_factory=list)
    upward: list[tuple[str, str]] = field(default_factory=list)
    referred: dict[str, list[Field]] = field(default_factory=dict)
    spec: Spec | None = None
    model: Model | None = None

    @property
    def fields(self) -> tuple[Field, ...]:
        """What is drawn."""
        return self.spec.fields if self.spec else ()

    @property
    def plain(self) -> list[str]:
        """The columns that are drawn as they are."""
        moved = {one.name for one in self.passing}
        return [f.name for f in self.codec.spec.fields if f.name not in moved] if self.codec else []

    # -- learning what there is --------------------------------------------------------------------------------------

    @classmethod
    def look(
        cls, member: Member, relations: Relations, codecs: Mapping[str, TableCodec | None], house: Household,
        train: np.ndarray, memory: int, seed: int, config: Mapping[str, Any],
    ) -> tuple["Law", Columns]:  # fmt: skip
        """The law of a table, yet to be trained, and the columns of all of its rows that it is of."""
        made = cls(member, codecs[member.name], memory)
        clock = clock_of(made.codec, member.time)
        if member.time is not None and clock is None:
            raise SpecError(f"expected dates or whole numbers in {member.name}.{member.time}, the time, got another")
        made.time = clock.name if clock is not None else None
        made.timely = clock is not None and bool((np.diff(late(house.x[member.name][clock.name])) >= 0).all())
        base = made.base(relations, codecs, house)
        fields = made._passing(house, base, train)
        fields += [replace(f, name=f"own:{f.name}") for f in made._fields() if f.name in made.plain]
        fields += [
            Count.learn(f"children:{name}", v[train]) for name, v in house.children[member.name].items()
        ]  # fmt: skip
        for link in member.others:
            fields += made._referring(link, codecs, house, train)
        x = made.encode(house, base)
        before = made._context(relations, codecs, house, train, fields) if member.context is not None else ()
        if fields:
            made.spec = Spec.table(tuple(fields), before)
            made.model = create("any_order", made.spec, seed, **config)
            x |= made.context(house) | made.remembered(x, made.siblings(house).before)
        return made, x

    def _fields(self) -> tuple[Field, ...]:
        return self.codec.spec.fields if self.codec else ()

    def _field(self, name: str | None) -> Field | None:
        return next((f for f in self._fields() if f.name == name), None)

    def _passing(self, house: Household, base: np.ndarray, train: np.ndarray) -> list[Field]:
        """Moments of the law: that which orders rows since the base, others since that."""
        out: list[Field] = []
        x = house.x[self.member.name]
        moments = [f for f in self._fields() if isinstance(f, Datetime) or f.name == self.time]
        for f in sorted(moments, key=lambda f: f.name != self.time):
            start = base if f.name == self.time else self._own_time(x, f.name)
            if not (x[f.name][train] != MISSING).any():
                continue
            made, fields = Passing.learn(f, None if f.name == self.time else self.time, x[f.name][train], start[train])
            self.passing.append(made)
            out += fields
        return out

    def _own_time(self, x: Columns, name: str) -> np.ndarray:
        """The row's own time in the unit of another moment."""
        clock, f = self._field(self.time), self._field(name)
        if not (isinstance(clock, Datetime) and isinstance(f, Datetime)):
            return np.full(len(x[str(self.time)]), MISSING)
        return in_unit(x[clock.name], clock.unit, f.unit)

    def _referring(
        self, link: Link, codecs: Mapping[str, TableCodec | None], house: Household, train: np.ndarray
    ) -> list[Field]:
        """The fields of what a further foreign key leads to: the columns there, and whether it does."""
        at = house.parent[self.member.name, link.column][train]
        codec = codecs[link.parent]
        there = self.referred[link.column] = list(codec.spec.fields)[:REFERRED] if codec else []
        lost = bool((at < 0).any())
        x = house.x[link.parent]
        out = [_weighed(f, x[f.name], at, f"to:{link.column}:{f.name}", lost) for f in there]
        if lost and (at >= 0).any():
            out.append(Category.learn(f"to:{link.column}", (at < 0).astype(np.int32), ("there", "none")))
        return out

    def _context(
        self, relations: Relations, codecs: Mapping[str, TableCodec | None], house: Household, train: np.ndarray,
        own: list[Field],
    ) -> tuple[Field, ...]:  # fmt: skip
        """The fields of the context: those of parents, the rank, and those of earlier siblings."""
        fields: list[Field] = []
        depth, link = 1, self.member.context
        while link is not None:
            codec = codecs[link.parent]
            above = list(codec.spec.fields) if codec else []
            above += [Count.learn(name, v) for name, v in house.children[link.parent].items()]
            if depth > 1 and len(fields) + len(above) > ANCESTORS:
                break
            self.upward.append((link.parent, link.column))
            fields += [with_missing(replace(f, name=f"up{depth}:{f.name}")) for f in above]
            depth, link = depth + 1, relations[link.parent].context
        fields.append(Count.learn("rank", self.siblings(house).rank[train]))
        lags = range(1, self.memory + 1)
        return (*fields, *(with_missing(replace(f, name=f"earlier{d}:{f.name}")) for d in lags for f in own))

    # -- columns of rows ---------------------------------------------------------------------------------------------

    def siblings(self, house: Household) -> Siblings:
        """Where each row stands among those of its parent."""
        if self.member.context is None:
            n = house.rows[self.member.name]
            return Siblings(np.zeros(n, np.int64), np.full(n, -1))
        at = house.parent[self.member.name, self.member.context.column]
        return Siblings.of(at, house.time(self.member.name, self.time))

    def base(self, relations: Relations, codecs: Mapping[str, TableCodec | None], house: Household) -> np.ndarray:
        """The moment that each row's time is counted from: the earlier sibling's, or the parent's; none of a root."""
        n = house.rows[self.member.name]
        clock = self._field(self.time)
        if clock is None or self.member.context is None:
            return np.full(n, MISSING)
        link = self.member.context
        up = self.parents_time(relations, codecs, house.x[link.parent], house.parent[self.member.name, link.column])
        before = self.siblings(house).before
        v = house.x[self.member.name][clock.name]
        earlier = np.where(before >= 0, v[before], MISSING)
        return np.where(earlier != MISSING, earlier, up)

    def parents_time(
        self, relations: Relations, codecs: Mapping[str, TableCodec | None], x: Columns, at: np.ndarray
    ) -> np.ndarray:
        """The moment of the parent, of columns x and rows `at` of it, in the unit of this table's; missing without."""
        clock = self._field(self.time)
        link = self.member.context
        above = clock_of(codecs[link.parent], relations[link.parent].time) if link else None
        if not (isinstance(clock, Datetime) and isinstance(above, Datetime)):
            return np.full(len(at), MISSING)
        v = gathered([above], x, at)[above.name]
        return in_unit(v, above.unit, clock.unit)

    def encode(self, house: Household, base: np.ndarray) -> Columns:
        """The columns of the law of all rows, without those of the context."""
        x = house.x[self.member.name]
        out = {f"own:{name}": x[name] for name in self.plain}
        for one in self.passing:
            out |= one.encode(x[one.name], base if one.source is None else self._own_time(x, one.name))
        out |= {f"children:{name}": v for name, v in house.children[self.member.name].items()}
        for link in self.member.others:
            at = house.parent[self.member.name, link.column]
            there = self.referred[link.column]
            out |= {f"to:{link.column}:{k}": v for k, v in gathered(there, house.x[link.parent], at).items()}
            out[f"to:{link.column}"] = (at < 0).astype(np.int32)
        return out

    def decode(self, drawn: Columns, base: np.ndarray) -> Columns:
        """The stored columns of the table that drawn ones stand for."""
        out = {name: drawn[f"own:{name}"] for name in self.plain}
        for one in self.passing:
            out[one.name] = one.decode(drawn, base if one.source is None else self._own_time(out, one.name))
        return out | {f.name: f.none(len(base)) for f in self._fields() if f.name not in out}

    def context(self, house: Household) -> Columns:
        """The columns of the context of all rows, but for those of earlier siblings."""
        if self.member.context is None:
            return {}
        at = house.parent[self.member.name, self.member.context.column]
        return {"rank": self.siblings(house).rank} | self.above(house, at)

    def above(self, house: Household, at: np.ndarray) -> Columns:
        """What children see of parents, by their numbers, and of those above them."""
        out: Columns = {}
        for depth, (table, column) in enumerate(self.upward, 1):
            at = at if depth == 1 else followed(house.parent[self.upward[depth - 2][0], column], at)
            out |= self.told(house, table, at, depth)
        return out

    def told(self, house: Household, parent: str, at: np.ndarray, depth: int) -> Columns:
        """What a child sees of rows of a parent so many steps above, -1 for none."""
        condition = self.spec.condition.fields if self.spec and self.spec.condition else ()
        prefix = f"up{depth}:"
        fields = [replace(f, name=f.name.removeprefix(prefix)) for f in condition if f.name.startswith(prefix)]
        x = house.x[parent] | house.children[parent]
        return {prefix + k: v for k, v in gathered(fields, x, at).items()}

    def remembered(self, x: Columns, before: np.ndarray) -> Columns:
        """The columns of earlier siblings, of columns of all rows and the number of the one before, -1 for none."""
        lags, at = [], before
        for _ in range(self.memory):
            lags.append((x, at))
            at = np.where(at >= 0, before[at], -1)
        return self.earlier(lags, len(before))

    def earlier(self, lags: Sequence[tuple[Columns, np.ndarray]], n: int) -> Columns:
        """The columns of earlier siblings of n rows, the nearest first: of columns and the rows there, -1 for none."""
        out: Columns = {}
        for d in range(1, (self.memory if self.member.context is not None else 0) + 1):
            x, at = lags[d - 1] if d <= len(lags) else ({}, np.full(n, -1))
            x = x or {f.name: f.none(1) for f in self.fields}
            out |= {f"earlier{d}:{k}": v for k, v in gathered(self.fields, x, at).items()}
        return out

    # -- drawing -----------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def draw(
        self, n: int, c: Columns, base: np.ndarray, generator: torch.Generator, given: Given | None = None
    ) -> Columns:
        """Columns of n rows given their contexts c, the moments that theirs are counted from, and what is asked of
        them (`asked`).
        """
        if self.model is None or not n:
            return {f.name: f.none(n) for f in self.fields}
        sets: Given = {}
        for one in self.passing:
            for name in (f"{word}:{one.name}" for word in one.has):
                field = self.spec.field(name)  # type: ignore[union-attr]
                if one.sure and field.has_missing and one.source is None:
                    sets[name] = field.present()
        sets |= given or {}
        mask, known = self.idle(base), {f.name: f.none(n) for f in self.fields}
        z = self.model.noise(n, generator)
        held = (known, mask) if sets or mask.any() else None
        return self.model.decode(z, c or None, sets or None, held)

    def idle(self, base: np.ndarray) -> np.ndarray:
        """The columns of moments that say nothing, (n, fields): whether a row has a base tells which of two it is."""
        names = [f.name for f in self.fields]
        mask = np.zeros((len(base), len(names)), bool)
        for one in self.passing:
            for name, idle in one.idle(base).items() if one.source is None else ():
                mask[:, names.index(name)] = idle
        return mask

    def asked(self, given: Given) -> Given:
        """What a condition on stored columns of a root means for the columns of the law.

        Raises Unsupported for a moment that is learned as what passed since another one of its row.
        """
        out: Given = {}
        moved = {one.name: one for one in self.passing}
        for name, allowed in given.items():
            one = moved.get(name)
            if one is not None and one.source is not None:
                raise Unsupported(
                    f"expected no condition on {self.member.name}.{name}, which is drawn as what passed since "
                    f"{one.source}: give one on that"
                )
            out[f"own:{name}" if one is None else f"at:{name}"] = allowed
        return out

    # -- log p ---------------------------------------------------------------------------------------------------------

    def log_prob(self, relations: Relations, codecs: Mapping[str, TableCodec | None], house: Household) -> np.ndarray:
        """log p of each row and of the numbers of its children given its context, (n,), nats."""
        if self.model is None:
            return np.zeros(house.rows[self.member.name])
        base = self.base(relations, codecs, house)
        x = self.encode(house, base)
        c = self.context(house) | self.remembered(x, self.siblings(house).before)
        own = {f.name: x[f.name] for f in self.fields}
        value, idle = self.model.log_prob(own, c or None), self.idle(base)
        return value - (self.model.marginal((own, idle), c or None) if idle.any() else 0.0)

    # -- kept --------------------------------------------------------------------------------------------------------

    def to_json(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Plain values and arrays that rebuild it (`from_json`)."""
        told: dict[str, Any] = {
            "time": self.time,
            "timely": self.timely,
            "memory": self.memory,
            "passing": [one.to_json() for one in self.passing],
        }
        told["upward"] = [list(pair) for pair in self.upward]
        arrays: dict[str, np.ndarray] = {}

        def keep(name: str, header: Any, held: Mapping[str, np.ndarray]) -> None:
            told[name] = header
            arrays.update({f"{name}.{k}": v for k, v in held.items()})

        if self.codec is not None:
            keep("codec", *self.codec.to_json())
        if self.spec is not None and self.model is not None:
            keep("spec", *self.spec.split())
            weights = {k: v.detach().cpu().numpy() for k, v in self.model.state_dict().items()}
            keep("weight", self.model.config, weights)
        told["referred"] = list(self.referred)
        for i, fields in enumerate(self.referred.values()):
            keep(f"to{i}", *Spec.table(tuple(fields)).split())
        return told, arrays

    @classmethod
    def from_json(cls, member: Member, told: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> "Law":
        """What `to_json` took apart."""

        def part(name: str) -> dict[str, np.ndarray]:
            return {k.partition(".")[2]: v for k, v in arrays.items() if k.partition(".")[0] == name}

        made = cls(member, TableCodec.from_json(told["codec"], part("codec")) if "codec" in told else None)
        made.memory, made.timely = told["memory"], told["timely"]
        made.time, made.passing = told["time"], [Passing.from_json(one) for one in told["passing"]]
        made.upward = [(a, b) for a, b in told["upward"]]
        for i, column in enumerate(told["referred"]):
            made.referred[column] = list(Spec.join(told[f"to{i}"], part(f"to{i}")).fields)
        if "spec" in told:
            made.spec = Spec.join(told["spec"], part("spec"))
            made.model = create("any_order", made.spec, **told["weight"])
            made.model.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in part("weight").items()})
            made.model.eval()
        return made


def _weighed(field: Field, v: np.ndarray, at: np.ndarray, name: str, lost: bool) -> Field:
    """A field as rows that refer to it see it: numbers by how often each is referred to."""
    if isinstance(field, Number) and not isinstance(field, Bounded):
        seen = gathered([field], {field.name: v}, at)[field.name]
        more = {"unit": field.unit} if isinstance(field, Datetime) else {}
        return type(field).learn(name, seen, field.decimals, **more)
    return replace(with_missing(field) if lost else field, name=name)
