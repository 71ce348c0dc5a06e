"""`FittedTables`: a model of several tables, and its verbs."""

from collections.abc import Mapping, Sequence
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from .. import store
from ..bundle import KIND, Fitted
from ..codecs import keys as shapes
from ..codecs.numerals import WHOLE
from ..codecs.places import TYPED, place_of
from ..codecs.relations import Link, Relations, values_of
from ..codecs.several import check_target, read_several, write_several, written_order
from ..codecs.tabular_io import TEXT, look, to_frame, with_column
from ..errors import CodecError, SpecError, Unsupported
from ..judging import write_text
from ..progress import bar
from ..spec import Given
from ..split import fingerprint
from .drawing import drawn
from .filling import filled_tables
from .household import Household, shared
from .law import Law
from .scoring import scored

if TYPE_CHECKING:
    import pyarrow as pa

    from .judging import TablesEvidence

MOST = 50_000  # rows of the largest table that are drawn to be judged


class Several:
    """What stands for the codec where one is asked for its kind: each law has its own."""

    kind = "tables"


class FittedTables(Fitted):
    """A fitted model of several tables: sample them, judge them, save it.

    laws: of each table by its name; schemas: the columns of each as they came; shape: of the values of keys.
    """

    many = True
    codec = Several()

    def __init__(
        self,
        relations: Relations,
        laws: Mapping[str, Law],
        schemas: "Mapping[str, pa.Schema]",
        shape: Mapping[str, Mapping[str, Any]],
        provenance: dict[str, Any],
    ) -> None:
        self.relations, self.laws, self.schemas, self.shape = relations, dict(laws), dict(schemas), dict(shape)
        self.provenance = provenance
        self.joint, self.typical, self.usual = None, {}, np.zeros(0)

    @classmethod
    def of(
        cls, relations: Relations, laws: Mapping[str, Law], tables: "Mapping[str, pa.Table]",
        provenance: dict[str, Any],
    ) -> "FittedTables":  # fmt: skip
        """The model of tables as they were read."""
        shape = {
            name: {column: _shape(table[column]) for column in relations.apart(name)} for name, table in tables.items()
        }
        return cls(relations, laws, {name: table.schema for name, table in tables.items()}, shape, provenance)

    def __repr__(self) -> str:
        return f"<pofx any_order of {self._shape()}, learned from {sum(self.provenance['rows'].values())} rows>"

    def _shape(self) -> str:
        return f"{len(self.laws)} tables"

    # -- sample ------------------------------------------------------------------------------------------------------

    def sample(  # type: ignore[override]
        self,
        scale: float | None = None,
        *,
        roots: int | Mapping[str, int] | None = None,
        given: Sequence[str] | str | Mapping[str, Any] | None = None,
        seed: int | None = None,
        path: str | Path | None = None,
        if_exists: str = "refuse",
        quiet: bool = False,
    ) -> Any:
        """New tables: frames by name; with `path`, a folder of files or a database, and how many rows were written.

        scale: rows of each table without parents, as a multiple of those that were learned from (default 1); roots:
        their number instead, of the table at the top of most others, or by name. given: conditions on columns of roots,
        "customers.class = gold" or {"customers": {"class": "gold"}}; what is below them follows. Keys count from the
        first of those seen; every foreign key leads to a row. if_exists: of tables of a database, refuse or replace.

        Raises SpecError for numbers below one, CodecError for a place that is taken and conditions that cannot hold,
        Unsupported for conditions on other tables.
        """
        if path is not None:
            check_target(path)
        asked = self._asked(given)
        self._trust(allow_failed=True)
        _, made = self._drawn(*self._numbers(scale, roots), self._seed(seed), quiet, asked)
        if path is None:
            return {name: self._frame(name, table) for name, table in made.items()}
        return self._written_to(path, made, if_exists)

    def _written_to(self, path: str | Path, made: "Mapping[str, pa.Table]", if_exists: str) -> int:
        place, kinds = place_of(path), {name: self._kind(name) for name in made}
        files = [
            (name, self._typed(name, made[name]) if place is not None or kinds[name] not in TEXT else made[name], None)
            for name in written_order(self.relations)
        ]
        return write_several(files, path, self.relations, kinds, if_exists)

    def _asked(self, given: Sequence[str] | str | Mapping[str, Any] | None) -> dict[str, Given]:
        """What conditions mean for the laws of roots."""
        told: dict[str, Any] = {}
        if isinstance(given, Mapping):
            told = dict(given)
        else:
            for text in [given] if isinstance(given, str) else given or []:
                name = max((n for n in self.laws if text.strip().startswith(f"{n}.")), key=len, default=None)
                if name is None:
                    raise SpecError(f"expected a condition on a column of a table, TABLE.COLUMN = ..., got {text!r}")
                told.setdefault(name, []).append(text.strip()[len(name) + 1 :])
        out = {}
        for name, words in told.items():
            if name not in self.laws:
                raise SpecError(f"expected conditions on {', '.join(map(repr, self.laws))}, got {name!r}")
            law = self.laws[name]
            if law.member.context is not None:
                raise Unsupported(
                    f"expected conditions on tables without parents, got one on {name!r}: those above would have to "
                    "follow from it"
                )
            if law.codec is None:
                raise CodecError(f"expected conditions on columns that are no keys, {name!r} has none")
            out[name] = law.asked(law.codec.given([words] if isinstance(words, str) else words))
        return out

    def _drawn(
        self, numbers: Mapping[str, int], share: float, seed: int, quiet: bool,
        given: Mapping[str, Given] | None = None,
    ) -> "tuple[Household, dict[str, pa.Table]]":  # fmt: skip
        """New rows, as columns and as tables."""
        alone = {name: round(n * share) for name, n in self.provenance["alone"].items()}
        with bar("sampling", None, "row", quiet) as tick:
            house, rank = drawn(self.relations, self.laws, numbers, alone, seed, tick, given)
        return house, self._tables(house, rank)

    def _numbers(self, scale: float | None, roots: int | Mapping[str, int] | None) -> tuple[dict[str, int], float]:
        """Rows of each table without parents, and what share of those seen that is."""
        if scale is not None and roots is not None:
            raise SpecError("expected scale or roots, got both: give one")
        tops = [m.name for m in self.relations if m.context is None]
        seen = {name: self.provenance["rows"][name] for name in tops}
        main = self.main
        share = 1.0 if scale is None else float(scale)
        if isinstance(roots, int):
            share = roots / seen[main]
        elif roots is not None:
            if odd := set(roots) - set(tops):
                raise SpecError(f"expected roots among {', '.join(map(repr, tops))}, got {sorted(odd)[0]!r}")
            share = roots.get(main, seen[main]) / seen[main]
        if not share > 0:
            raise SpecError(f"expected a scale above zero, got {share}")
        numbers = {name: max(1, round(n * share)) for name, n in seen.items()}
        numbers |= dict(roots) if isinstance(roots, Mapping) else {}
        if min(numbers.values()) < 1:
            raise SpecError("expected at least one row of each root")
        return numbers, share

    @property
    def main(self) -> str:
        """The table at the top of most others."""
        tops = [self.relations.root(m.name) for m in self.relations]
        return max(dict.fromkeys(tops), key=tops.count)

    def _kind(self, name: str) -> str:
        return str(look(self.schemas[name].empty_table()).get("kind", "arrow"))

    def _tables(self, house: Household, rank: Mapping[str, np.ndarray]) -> "dict[str, pa.Table]":
        """Stored columns and keys as tables like those that came."""
        import pyarrow as pa

        made = {
            name: {column: _keys(self.shape[name][column], house.rows[name]) for column in self.relations.made(name)}
            for name in self.laws
        }
        out = {}
        for name in written_order(self.relations):
            member, n, cells = self.relations[name], house.rows[name], made[name]
            for link in member.links:
                at = house.parent[name, link.column]
                cells[link.column] = _target(made, link).take(pa.array(at, mask=at < 0))
            if (counted := self.relations.counted(name)) is not None:
                cells[counted] = pa.array(rank[name] + self.shape[name][counted].get("low", 1))
            codec, schema = self.laws[name].codec, self.schemas[name]
            full = codec.table(house.x[name]) if codec else _blank(schema, n)
            for place, field in enumerate(schema):
                if field.name in cells:
                    full = full.set_column(place, field, _cast(cells[field.name], field.type))
            out[name] = full.replace_schema_metadata(schema.metadata)
        return out

    def _typed(self, name: str, table: "pa.Table") -> "pa.Table":
        """Texts of a file that stand for numbers, dates and truth values as such, keys too."""
        codec, kind = self.laws[name].codec, self._kind(name)
        if kind in TYPED or kind not in TEXT:
            return table
        table = codec.typed(table) if codec else table
        for column in self.relations.apart(name):
            if self.shape[name][column].get("kind") == "number":
                at = table.column_names.index(column)
                table = table.set_column(at, column, table[column].cast("int64"))
        return table

    def _frame(self, name: str, table: "pa.Table") -> Any:
        kind = self._kind(name)
        return to_frame(table if kind in ("pandas", "polars", "arrow") else self._typed(name, table), kind)

    # -- score ---------------------------------------------------------------------------------------------------------

    def score(self, source: Any, *, path: str | Path | None = None, if_exists: str = "refuse") -> Any:
        """The tables with log p of each row given its parent and earlier siblings, `log_prob` in nats, and beside a
        root's the sum of it and of all below, `log_prob_below` (tables/scoring.py): frames by name; with `path`, a
        folder or a database of them, and how many rows were written.

        source: tables of the same names and columns. Raises CodecError where they cannot be read.
        """
        import pyarrow as pa

        if path is not None:
            check_target(path)
        tables = self._read_again(source)
        codecs = {name: law.codec for name, law in self.laws.items()}
        house = Household.read(tables, self.relations, codecs)
        each, total = scored(self.relations, self.laws, house, tables, self.provenance["rows"])
        out = {name: with_column(table, "log_prob", pa.array(each[name])) for name, table in tables.items()}
        out |= {name: with_column(out[name], "log_prob_below", pa.array(value)) for name, value in total.items()}
        if path is None:
            return {name: self._frame(name, table) for name, table in out.items()}
        return self._written_to(path, out, if_exists)

    def complete(
        self,
        source: Any,
        *,
        seed: int | None = 0,
        path: str | Path | None = None,
        if_exists: str = "refuse",
        quiet: bool = False,
    ) -> Any:
        """The tables with one draw of each missing cell, given what is known of its row, of the rows above it and of
        earlier siblings (tables/filling.py); known cells, keys and foreign keys stay. Frames by name; with `path`, a
        folder or a database, and how many rows were written.

        source: tables of the same names and columns. Raises CodecError where they cannot be read.
        """
        if path is not None:
            check_target(path)
        tables = self._read_again(source)
        house = Household.read(tables, self.relations, {name: law.codec for name, law in self.laws.items()})
        with bar("completing", sum(house.rows.values()), "row", quiet) as tick:
            out = filled_tables(self.relations, self.laws, house, tables, self._seed(seed), tick)
        if path is None:
            return {name: self._frame(name, table) for name, table in out.items()}
        return self._written_to(path, out, if_exists)

    # -- evaluate ----------------------------------------------------------------------------------------------------

    def evaluate(
        self,
        data: Any = None,
        *,
        seed: int = 0,
        report: str | Path | None = None,
        json: str | Path | None = None,
        quiet: bool = False,
    ) -> "TablesEvidence":
        """The evidence: children a parent, two-sample tests of parents with children, and keys (tables/judging.py).

        Held-out entities (the test rows of roots with all below them) are what samples are judged by. data: what was
        learned from, if it is no longer where it was; report: where the page of it is written.
        """
        from .verdict import verdict

        for place in (report, json):
            if place is not None:
                store.check_folder(Path(place))
        tables, relations = self._again(data), self.relations
        house = Household.read(tables, relations, {name: law.codec for name, law in self.laws.items()})
        part = shared(relations, house.parent, house.rows, self.provenance["split"], self.provenance["seed"])
        evidence = self.judged(house, part, seed, quiet)
        told = verdict(evidence).to_json()
        if report is not None:
            from ..report.tables import render_tables

            tree, title = relations.tree(self.provenance["rows"]), f"any_order on {self.provenance['source']}"
            page = render_tables(evidence, title=title, tree=tree, verdict=told, provenance=self.provenance)
            write_text(Path(report), page)
        if json is not None:
            write_text(
                Path(json), dumps({"provenance": self.provenance, "verdict": told} | evidence.to_json(), indent=1)
            )
        return evidence

    def judged(self, house: Household, part: Mapping[str, np.ndarray], seed: int, quiet: bool) -> "TablesEvidence":
        """The evidence on as many drawn rows against the part of these tables that is held out."""
        from .judging import judged

        share = min(1.0, MOST / max(self.provenance["rows"].values()))
        fake, made = self._drawn(*self._numbers(share, None), seed, quiet)
        return judged(self.relations, self.laws, house, part, fake, made, seed, quiet)

    def _again(self, data: Any) -> "dict[str, pa.Table]":
        source = data if data is not None else self.provenance["path"]
        if source is None:
            raise CodecError("the model was fitted on frames, which a bundle does not keep: give them again (data=)")
        tables = self._read_again(source)
        for name, table in tables.items():
            if fingerprint(table) != self.provenance["fingerprint"][name]:
                raise CodecError(f"the table {name!r} is not what was fitted on: its rows differ; give those (data=)")
        return tables

    def _read_again(self, source: Any) -> "dict[str, pa.Table]":
        """Tables with the keys of those that were learned from."""
        told = {m["name"]: m for m in self.relations.to_json()}
        keys = {name: {"key": one["key"], **{c: f"{p}.{t}" for c, p, t in one["links"]}} for name, one in told.items()}
        return read_several(source, list(self.laws), keys, **self.provenance["reading"])[0]

    # -- keep --------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Writes the bundle: one file for all tables; nothing in it can run code."""
        header: dict[str, Any] = {
            "codec": {"kind": "tables"}, "relations": self.relations.to_json(), "shape": self.shape,
            "provenance": self.provenance, "laws": [],
        }  # fmt: skip
        held: dict[str, np.ndarray] = {}
        for i, (name, law) in enumerate(self.laws.items()):
            told, arrays = law.to_json()
            header["laws"].append({"name": name} | told)
            held |= {f"{i}.{k}": v for k, v in arrays.items()}
            held[f"{i}.schema"] = np.frombuffer(self.schemas[name].serialize(), np.uint8)
        store.write(path, KIND, header, held)

    @classmethod
    def opened(cls, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> "FittedTables":
        """What `save` took apart."""
        import pyarrow as pa

        relations = Relations.from_json(header["relations"])
        laws, schemas = {}, {}
        for i, told in enumerate(header["laws"]):
            own = {k.partition(".")[2]: v for k, v in arrays.items() if k.partition(".")[0] == str(i)}
            name = told["name"]
            laws[name] = Law.from_json(relations[name], told, own)
            schemas[name] = pa.ipc.read_schema(pa.py_buffer(np.ascontiguousarray(own["schema"]).tobytes()))
        return cls(relations, laws, schemas, header["shape"], header["provenance"])

    def info(self) -> str:
        """What the model is, in lines for a terminal."""
        p = self.provenance
        count = sum(v.numel() for law in self.laws.values() if law.model for v in law.model.parameters())
        lines = [
            f"model      any_order for each of {len(self.laws)} tables, {count:,} parameters",
            f"learned    {p['source']}, {sum(p['rows'].values()):,} rows, keys {p['keys']}",
            f"split      {'/'.join(map(str, p['split']))} train/validation/test by a permutation of roots, seed "
            f"{p['seed']}",
            "can        sample, score, complete",
            *("           " + line for line in self.relations.tree(p["rows"]).splitlines()),
            *([f"verdict    {self.verdict}"] if self.verdict else []),
            *(f"           {reason}" for reason in self.reasons()),
        ]
        for name, law in self.laws.items():
            lines.append(f"fields     {name}: {', '.join(f.name for f in law.fields)}")
            if law.spec and law.spec.condition:
                lines.append(f"given      {', '.join(f.name for f in law.spec.condition.fields)}")
            if name in p["fit"]:
                told = p["fit"][name]
                lines.append(f"steps      {told['steps']} of {told['planned']}, validation {told['validation']}")
        return "\n".join(lines)


def _refusing(verb: str) -> Any:
    def refuse(self: FittedTables, *args: Any, **words: Any) -> NoReturn:
        raise Unsupported(
            f"{verb} is for a model of one table, this is one of {self._shape()}: use sample, score, complete or "
            "evaluate, or fit one table (reading={'table': ...}, --table)"
        )

    return refuse


for _verb in (name for name in dir(Fitted) if name[0] != "_" and callable(getattr(Fitted, name))):
    if _verb not in vars(FittedTables) and _verb != "reasons":
        setattr(FittedTables, _verb, _refusing(_verb))


def _shape(column: "pa.ChunkedArray") -> dict[str, Any]:
    """The shape of the values of a key: whole numbers from the least on, or texts."""
    import pyarrow.compute as pc

    texts = values_of(column).drop_null()
    if pc.all(pc.match_substring_regex(texts, WHOLE), min_count=0).as_py():
        return {"kind": "number", "low": pc.min(texts.cast("int64")).as_py() if len(texts) else 1}
    return {"kind": "text"} | shapes.shape_of_texts(texts.to_pylist())


def _keys(shape: Mapping[str, Any], n: int) -> "pa.Array":
    """Values of a key of n rows, all different."""
    import pyarrow as pa

    if shape["kind"] == "number":
        return pa.array(shape["low"] + np.arange(n, dtype=np.int64))
    return shapes.texts(dict(shape), 0, n)


def _target(made: "Mapping[str, Mapping[str, pa.Array]]", link: Link) -> "pa.Array":
    """The values of the column that a foreign key leads to."""
    if link.target not in made[link.parent]:
        raise Unsupported(
            f"expected foreign keys without a circle, got {link.column!r}, which leads to {link.parent}.{link.target}, "
            "a foreign key that is not made yet"
        )
    return made[link.parent][link.target]


def _cast(cells: "pa.Array", kind: "pa.DataType") -> "pa.Array":
    import pyarrow as pa

    try:
        if pa.types.is_dictionary(kind):
            return cells.cast(kind.value_type).dictionary_encode().cast(kind)
        return cells.cast(kind)
    except pa.ArrowException as error:
        raise CodecError(f"keys do not fit into their column of type {kind}: {error}") from error


def _blank(schema: "pa.Schema", n: int) -> "pa.Table":
    import pyarrow as pa

    return pa.Table.from_arrays([pa.nulls(n, field.type) for field in schema], schema=schema)
