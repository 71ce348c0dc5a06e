"""The codec of tables: a table to stored columns of a Spec, and those back to a table like the one that came."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..errors import CodecError, SpecError
from ..field import Allowed
from ..fields import Category, Datetime
from ..spec import Columns, Given, Spec
from . import conditions
from .cleaning import DIRTY, kept, with_keys
from .columns import ColumnPlan
from .conditions import Between, between
from .constraint_finding import look_for
from .constraints import Held
from .dependencies import Dependency
from .derivation import derive, keep_one
from .infinite import refuse_infinite
from .overrides import asked_of
from .places import TYPED
from .profiling import profile_of
from .rare import bare
from .rules import all_breaks, read_rules
from .tabular_io import look, read_table, to_frame
from .told import Told
from .writing import write_table

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Between", "ColumnPlan", "TableCodec", "between", "read_table", "to_frame", "write_table"]


class TableCodec:
    """How the columns of a table become fields, and back.

    spec: the fields to be modelled, and those of the condition; whole: the fields of all columns that have one, the
    derived ones included; plans: one for each column, in order; dependencies: the columns that are functions of another
    one; schema: of the table that was learned from; rows: how many it had; like: the kind of its container; held: the
    constraints, and the hidden columns that stand in the Spec for what follows from them (constraints.py).

    With t the table that was learned from, `table(encode(t))` equals t in every cell, except in columns that are made
    anew (keys) or not kept (dropped), and where a column spells one number in several ways.
    """

    kind = "table"
    origin: str | None = None  # the fingerprint of the rows as they came, where others were learned from

    def __init__(
        self,
        plans: list[ColumnPlan],
        dependencies: list[Dependency],
        schema: "pa.Schema",
        rows: int,
        condition: Sequence[str] = (),
        like: str = "pandas",
        held: Held | None = None,
    ) -> None:
        self.plans, self.dependencies, self.schema = plans, dependencies, schema
        self.rows, self.condition, self.like = rows, tuple(condition), like
        self._by_name = {plan.name: plan for plan in plans}
        self.held = Held([], self._by_name) if held is None else held
        every = [plan.field for plan in plans if plan.field is not None]
        some = [plan.field for plan in (*plans, *self.held.hidden) if plan.field is not None and plan.source is None]
        told = {*condition, *self.held.told}
        self.whole = Spec.table(tuple(every))
        self.spec = Spec.table(
            tuple(field for field in some if field.name not in told),
            tuple(field for field in some if field.name in told),
            self.held.orders,
        )

    @classmethod
    def learn(
        cls,
        table: Any,
        *,
        fields: Mapping[str, Any] | None = None,
        condition: Sequence[str] = (),
        like: str = "pandas",
        missing: str = "state",
        part: np.ndarray | None = None,
        least: int = 0,
        constraints: Sequence[str] | str | None = "found",
        dirty: str = "clean",
        masks: bool = False,
        apart: Collection[str] | None = None,
    ) -> Self:
        """The codec of a table (Arrow, a frame or a path), learned from the rows of a part, by their numbers, or all.

        missing: "state", a missing cell is a state of its field; "unknown", it is a cell that nobody saw. least: the
        rows behind everything that is kept of a table of `rare.merged`.

        `fields` overrides how columns are read: {"zip": "category", "note": "drop", "ref": "key", "age": {"kind":
        "bounded", "low": 0, "high": 120}, "size": {"kind": "ordinal", "levels": ["S", "M", "L"]}}. `condition` names
        the columns of c. constraints: "found" (those that the rows suggest), "none", or texts (rules.py), "found"
        perhaps among them; dirty: "clean", rows that break one are not learned, "keep", they are learned too; masks:
        whether the model keeps orders while it draws, else they are held by gaps; apart: columns of which, and of
        moments, no constraint is looked for (None: one is looked for of all).

        Raises SpecError for columns or kinds that do not exist, and constraints that cannot be held, CodecError for a
        table without rows, with one row, or with nothing in it, and for infinite numbers in any row of it.
        """
        table = _as_table(table)
        names = table.column_names
        rules, search = read_rules(constraints, names)
        if dirty not in DIRTY:
            raise SpecError(f"expected dirty among {', '.join(DIRTY)}, got {dirty!r}")
        asked = asked_of(fields, names)
        refuse_infinite(table, asked)
        table = table if part is None else table.take(part)
        _check_rows(table)
        titles = look(table).get("titles", names)
        asked = with_keys(asked, rules, table, dirty == "keep")
        table, plans, stored = kept(table, titles, asked, rules, dirty == "keep")
        _check_condition(condition, names, stored)
        if all(plan.share == 1.0 for plan in plans):
            raise CodecError("every cell of the table is missing, expected some values: check the file")
        keep_one(plans, stored, table)
        for plan in plans if missing == "unknown" else ():
            if plan.field is not None and plan.field.has_missing:
                plan.field = plan.field.seen_alone()
        fixed = {*condition, *(name for name, one in asked.items() if one.get("derived") is False)}
        fixed |= {name for rule in rules for name in rule.names}
        for plan in plans if least else ():
            bare(plan, least, table.num_rows)
        dependencies = derive(plans, stored, fixed, set(condition), least)
        by_name = {plan.name: plan for plan in plans}
        timed = {plan.name for plan in plans if isinstance(plan.field, Datetime)} if apart is not None else set()
        found = look_for(by_name, stored, fixed | timed | set(apart or ())) if search else []
        held = Held([*rules, *found], by_name, dirty == "keep", found, missing == "unknown")
        held.learn(stored, set(condition), masks)
        for plan in held.hidden if least else ():
            bare(plan, least, table.num_rows)
        return cls(plans, dependencies, table.schema, table.num_rows, condition, like, held)

    # -- in ------------------------------------------------------------------------------------------------------------

    def encode(self, table: Any, *, derived: bool = False) -> Columns:
        """Stored columns, by name, of the fields of spec and of its condition; with `derived`, of all fields of whole.

        A label never seen gets the code after the last one. Raises CodecError where columns are missing, saying which,
        and for cells that cannot be read.
        """
        table = _as_table(table)
        plans = [plan for plan in self.plans if plan.modelled or (derived and plan.field is not None)]
        if derived:
            return self._parsed(table, [plan.name for plan in plans])
        own = self._parsed(table, [*(plan.name for plan in plans), *sorted(self.held.read)])
        return {plan.name: own[plan.name] for plan in plans} | self.held.encode(own)

    def _parsed(self, table: "pa.Table", names: Sequence[str]) -> Columns:
        self._check_names(table, list(names))
        return {name: self._by_name[name].parse(table[name]) for name in dict.fromkeys(names)}

    def clean(self, table: "pa.Table", rows: np.ndarray) -> np.ndarray:
        """Of some rows, by their numbers, those that are learned: all of them, or those that break no given rule."""
        rules = [rule for rule in self.held.rules if rule not in self.held.found and rule.kind != "unique"]
        if self.held.keep or not rules or not len(rows):
            return rows
        stored = self._parsed(table.take(rows), sorted({name for rule in rules for name in rule.names}))
        return rows[~all_breaks(rules, self._by_name, stored)]

    def _check_names(self, table: "pa.Table", needed: list[str]) -> None:
        gone = [name for name in needed if name not in table.column_names]
        if gone:
            new = [name for name in table.column_names if name not in self._by_name]
            hint = f"; it has {', '.join(map(repr, new[:8]))} instead: rename them" if new else ": add them"
            raise CodecError(f"the table lacks the column(s) {', '.join(map(repr, gone[:8]))}{hint}")

    def plan(self, name: str) -> ColumnPlan:
        """How the column of this name is read and written, one that is hidden in the Spec included."""
        return next((plan for plan in self.held.hidden if plan.name == name), None) or self._by_name[name]

    def broken(self, table: Any) -> np.ndarray:
        """The number of derived cells in each row, int64 (n,), that break their dependency, and of constraints broken
        that the fields of the Spec do not tell; 0 where all hold. A determinant never seen breaks none.
        """
        table = _as_table(table)
        names = [name for rule in self.dependencies for name in (rule.source, rule.target)]
        stored = self._parsed(table, [*names, *sorted(self.held.members)])
        out = np.zeros(table.num_rows, np.int64)
        for rule in self.dependencies:
            x, y = stored[rule.source], stored[rule.target]
            out += (rule.apply(x) != y) & rule.known(x)
        return out + self.held.unscored(stored, table.num_rows)

    def log_steps(self, table: Any) -> np.ndarray:
        """What the columns that follow from constraints add to log p of each row, (n,), nats."""
        table = _as_table(table)
        return self.held.log_steps(self._parsed(table, sorted(self.held.members)), table.num_rows)

    # -- out -----------------------------------------------------------------------------------------------------------

    def table(
        self,
        x: Columns,
        first_row: int = 0,
        *,
        plain: bool = False,
        told: Told | None = None,
    ) -> "pa.Table":
        """A table of all columns, as the one that was learned from, of stored columns.

        Derived columns follow from their determinants, keys count from `first_row`, so that no two rows share one.
        With `plain`, texts that stand for numbers, dates and truth values become such; with `told`, known cells are
        kept (told.py).
        """
        import pyarrow as pa

        n = len(next(iter(x.values())))
        full = self.complete(x) if told is None else told.kept(self.complete(x))
        blank = np.zeros(n, np.int32)
        cells = []
        for plan in self.plans:
            stored = full.get(plan.name, blank if plan.share < 1.0 else blank - 1)
            cells.append((plan.plain if plain else plan.render)(stored, first_row))
        if plain:
            made = pa.Table.from_arrays(cells, names=[plan.name for plan in self.plans])
            return made.replace_schema_metadata(self._plain_meta())
        return pa.Table.from_arrays(cells, schema=self.schema)

    def _plain_meta(self) -> dict[bytes, bytes]:
        return {k: v for k, v in (self.schema.metadata or {}).items() if k == b"pofx"}

    def complete(self, x: Columns) -> Columns:
        """The stored columns together with those that derive from them."""
        out = self.held.decode(x)
        for rule in self.dependencies:
            out[rule.target] = rule.apply(out[rule.source])
        for plan in self.plans:
            if plan.how == "duplicate" and plan.source is not None:
                out[plan.name] = out[plan.source]
        return out

    def told(self, table: "pa.Table") -> Told:
        """What the known cells of rows say of the fields of the Spec that are not among their columns."""
        wanted = self.held.members | {rule.target for rule in self.dependencies}
        own = self._parsed(table, [name for name in table.column_names if name in wanted])
        for name in self.held.members - own.keys():  # a column that is not there is missing in every row
            own[name] = self.whole.field(name).none(table.num_rows)
        both = {plan.name: plan for plan in (*self.plans, *self.held.hidden) if plan.field is not None}
        return Told(self.held, self.dependencies, own, {name: both[name] for name in both if both[name].modelled})

    def filled(self, table: "pa.Table", x: Columns, told: Told) -> "pa.Table":
        """A table with what is missing taken from stored columns; keys, texts, and levels that were never seen as they
        were.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        told_of = self.spec.condition.fields if self.spec.condition else ()
        hidden = {plan.name for plan in self.held.hidden}
        both = (f for f in (*self.spec.fields, *told_of) if isinstance(f, Category) and f.name not in hidden)
        strange = {f.name: x[f.name] >= len(f.levels) for f in both}
        full = self.table(x | {name: np.where(new, -1, x[name]) for name, new in strange.items()}, told=told)
        strange |= told.strange
        for at, name in enumerate(full.column_names):
            if self.plan(name).how in ("key", "dropped"):
                full = full.set_column(at, name, table.column(name))
            elif name in strange and strange[name].any():
                new, old = pa.array(strange[name]), table.column(name)
                full = full.set_column(at, name, pc.if_else(new, old, full.column(name).cast(old.type)))
        return full

    def typed(self, table: "pa.Table") -> "pa.Table":
        """The table with texts that stand for numbers, dates and truth values turned into such; of a container that has
        types of its own, texts are meant as such.
        """
        from .columns import is_text

        if self.like in TYPED or table.column_names != [plan.name for plan in self.plans]:
            return table
        for i, plan in enumerate(self.plans):
            if is_text(plan.type) and is_text(table.schema.types[i]) and plan.reading not in ("key", "blank"):
                column = plan.plain(plan.parse(table[plan.name]))
                table = table.set_column(i, plan.name, column)
        return table

    # -- conditions ----------------------------------------------------------------------------------------------------

    def given(self, asked: Sequence[str] | Mapping[str, Any]) -> Given:
        """The sets of stored values, by field, that conditions mean; several on one column intersect.

        `asked` are strings such as "age in [20, 30)", "sex = Female", "`odd name` is missing", or a mapping from
        column to a value, a set, `between(a, b)` or None for missing. A condition on a derived column becomes a set on
        its determinant. Raises CodecError for a column or a value that does not exist, where nothing that was seen
        fulfils the conditions, and for a column that follows from others which are drawn first (a sum, a gap).
        """
        out: Given = {}
        words: dict[str, list[str]] = {}
        for term in conditions.terms(asked, list(self._by_name)):
            plan = self._by_name[term.name]
            root, allowed = self._rooted(plan, conditions.allowed_by(plan, term), term)
            if root is None:
                continue
            words.setdefault(root.name, []).append(term.words)
            out[root.name] = conditions.both(out[root.name], allowed) if root.name in out else allowed
            if conditions.empty(out[root.name]):
                joined = " and ".join(map(repr, words[root.name]))
                raise CodecError(f"the conditions {joined} contradict each other: no value of {root.name!r} is left")
            self._check_seen(root, out[root.name], words[root.name])
        return out

    def _rooted(self, plan: ColumnPlan, allowed: Allowed, term: conditions.Term) -> tuple[ColumnPlan | None, Allowed]:
        self.held.refuse(plan.name, term.words)
        if plan.source is not None:
            root = self._by_name.get(plan.source) or next(p for p in self.held.hidden if p.name == plan.source)
            links = [*self.dependencies, *self.held.links]
            rule = next((rule for rule in links if rule.target == plan.name), None)
            if rule is None:
                return self._rooted(root, allowed, term)
            stored = rule.values[conditions.holds(plan, allowed, rule.images)]
            if not len(stored):
                self._check_seen(plan, allowed, [term.words])
                raise CodecError(f"the condition {term.words!r} holds no value that was seen")
            return self._rooted(root, conditions.set_of(root, stored), term)
        if plan.field is None:
            self._check_constant(plan, allowed, term)
            return None, allowed
        return plan, allowed

    def _check_constant(self, plan: ColumnPlan, allowed: Allowed, term: conditions.Term) -> None:
        code = -1 if plan.share == 1.0 or plan.reading == "blank" else 0
        if not (allowed.missing if code < 0 else 0 in allowed.codes):
            what = "missing" if code < 0 else "present" if plan.reading == "key" else repr(plan.form["levels"][0])
            raise CodecError(
                f"the condition {term.words!r} holds no value that was seen: {plan.name!r} is always {what}"
            )

    def _check_seen(self, plan: ColumnPlan, allowed: Allowed, words: list[str]) -> None:
        if (field := plan.field) is None:
            return
        try:
            field.allow(field.tokens(1, 1, whole=True), allowed)
        except SpecError as error:
            if len(words) > 1:
                joined = " and ".join(map(repr, words))
                raise CodecError(
                    f"the conditions {joined} leave no value that was seen: {field.range_in_words()}"
                ) from error
            raise CodecError(
                f"the condition {words[0]!r} is outside what was seen in {plan.name!r}: {field.range_in_words()}"
            ) from error

    # -- kept ----------------------------------------------------------------------------------------------------------

    def to_json(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Plain values and arrays that rebuild the codec (`from_json`)."""
        header, arrays = self.whole.split()
        arrays = {f"whole.{name}": array for name, array in arrays.items()}
        arrays["schema"] = np.frombuffer(self.schema.serialize(), np.uint8)
        plans = []
        for i, plan in enumerate(self.plans):
            keep = ("name", "title", "how", "why", "missing", "share", "reading", "form", "source")
            plans.append({key: getattr(plan, key) for key in keep} | {"examples": list(plan.examples)})
            if plan.values is not None:
                arrays[f"values.{i}"] = _packed(plan.values)
        for i, rule in enumerate(self.dependencies):
            arrays[f"from.{i}"], arrays[f"to.{i}"] = rule.values, rule.images
        rules = [[rule.source, rule.target] for rule in self.dependencies]
        meta = {"whole": header, "plans": plans, "rules": rules, "condition": list(self.condition)}
        if self.held.rules:
            meta["constraints"], own = self.held.to_json()
            arrays |= {f"held.{k}": v for k, v in own.items()}
        return meta | {"rows": self.rows, "like": self.like}, arrays

    @classmethod
    def from_json(cls, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """The codec that `to_json` took apart."""
        import pyarrow as pa

        whole = Spec.join(
            meta["whole"], {k.removeprefix("whole."): v for k, v in arrays.items() if k.startswith("whole.")}
        )
        schema = pa.ipc.read_schema(pa.py_buffer(np.ascontiguousarray(arrays["schema"]).tobytes()))
        by_name = {field.name: field for field in whole.fields}
        plans = []
        for i, one in enumerate(meta["plans"]):
            plan = ColumnPlan(**{**one, "examples": tuple(one["examples"])}, type=schema.types[i])
            plan.field = by_name.get(plan.name)
            plan.values = _unpacked(arrays[f"values.{i}"]) if f"values.{i}" in arrays else None
            plans.append(plan)
        rules = [
            Dependency(source, target, arrays[f"from.{i}"], arrays[f"to.{i}"])
            for i, (source, target) in enumerate(meta["rules"])
        ]
        held = None
        if "constraints" in meta:
            own = {k.removeprefix("held."): v for k, v in arrays.items() if k.startswith("held.")}
            held = Held.from_json(meta["constraints"], own, {plan.name: plan for plan in plans})
        return cls(plans, rules, schema, meta["rows"], meta["condition"], meta["like"], held)

    def profile(self) -> str:
        """How each column is read and why, for a terminal; then the dependencies and constraints that hold."""
        return profile_of(self.plans, self.rows, self.dependencies, self.held)


def _as_table(table: Any) -> "pa.Table":
    return read_table(table)[0]


def _check_condition(condition: Sequence[str], names: Sequence[str], stored: Columns) -> None:
    for name in condition:
        if name in names and name not in stored:
            raise SpecError(
                f"expected a condition of two values or more, got {name!r}, whose cells are all alike or dropped: "
                "leave it out"
            )
        if name not in stored:
            raise SpecError(f"expected a condition among the columns {', '.join(map(repr, stored))}, got {name!r}")


def _check_rows(table: "pa.Table") -> None:
    if not table.num_columns:
        raise CodecError("expected a table with columns, got none")
    if table.num_rows < 2:
        got = "a header and no rows" if not table.num_rows else "one row"
        raise CodecError(f"expected at least two rows to learn from, got {got}: give more data")


def _packed(values: "pa.Array") -> np.ndarray:
    import pyarrow as pa

    batch, sink = pa.record_batch([values], names=["values"]), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return np.frombuffer(sink.getvalue(), np.uint8)


def _unpacked(data: np.ndarray) -> "pa.Array":
    import pyarrow as pa

    column = pa.ipc.open_stream(pa.py_buffer(np.ascontiguousarray(data).tobytes())).read_all()["values"]
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)
