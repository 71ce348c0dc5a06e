"""Several tables: a made shop of known conditionals, keys that hold exactly, and what cannot be learned."""

import json
import re
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pofx
from pofx.cli import main
from pofx.codecs.kinship import given
from pofx.codecs.relations import Link, Member, Relations, values_of
from pofx.codecs.several import read_several
from pofx.errors import CodecError, SpecError, Unsupported
from pofx.tables.drawing import drawn
from pofx.tables.household import Household, Siblings, learned, shared
from pofx.tables.judging import TablesEvidence, apart, broken
from pofx.tables.law import Law
from pofx.tables.matching import matched, unlike
from pofx.tables.verdict import verdict
from pofx.training.verdict import Verdict

NAMES = ("customers", "products", "orders", "lines", "events")
DECLARED = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, class TEXT, joined TIMESTAMP);
CREATE TABLE products (id INTEGER PRIMARY KEY, kind TEXT, price REAL);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers (id),
                     placed TIMESTAMP, channel TEXT, amount REAL);
CREATE TABLE lines (order_id INTEGER REFERENCES orders (id), line INTEGER,
                    product_id INTEGER REFERENCES products, quantity INTEGER, PRIMARY KEY (order_id, line));
CREATE TABLE events (id TEXT PRIMARY KEY, customer_id INTEGER REFERENCES customers (id), at TIMESTAMP, what TEXT);
"""


def shop(n: int = 250, seed: int = 0) -> dict[str, pd.DataFrame]:
    """Gold customers order three to five times, plain ones at most once; an amount follows the earlier one; orders of
    the web have one line of one book, others two lines of many toys or foods; events begin with a view.
    """
    rng = np.random.default_rng(seed)
    gold = rng.random(n) < 0.4
    joined = np.datetime64("2021-01-01", "s") + rng.integers(0, 300, n) * np.timedelta64(86400, "s")
    customers = pd.DataFrame({"id": np.arange(n) + 1, "class": np.where(gold, "gold", "plain"), "joined": joined})
    count = np.where(gold, rng.integers(3, 6, n), rng.integers(0, 2, n))
    who = np.repeat(np.arange(n), count)
    rank = np.arange(len(who)) - np.repeat(np.cumsum(count) - count, count)
    wait = rng.integers(1, 20, len(who)) * np.timedelta64(3600, "s")
    amount, placed = np.zeros(len(who)), np.zeros(len(who), "M8[s]")
    for i in range(len(who)):
        amount[i] = amount[i - 1] + rng.integers(-3, 4) if rank[i] else rng.choice([100.0, 200.0])
        placed[i] = (placed[i - 1] if rank[i] else joined[who[i]]) + wait[i]
    web = rng.random(len(who)) < 0.5
    orders = pd.DataFrame({"id": np.arange(len(who)) + 501, "customer_id": who + 1, "placed": placed,
                           "channel": np.where(web, "web", "shop"), "amount": amount})  # fmt: skip
    kind = np.array(["book", "toy", "food"])[np.arange(12) % 3]
    products = pd.DataFrame({"id": np.arange(12) + 1, "kind": kind, "price": np.arange(12) * 2.5 + 1.25})
    of = np.repeat(np.arange(len(who)), np.where(web, 1, 2))
    bought = np.where(web[of], rng.choice([1, 4, 7, 10], len(of)), rng.choice([2, 3, 5, 6, 8, 9, 11, 12], len(of)))
    line = np.arange(len(of)) - np.searchsorted(of, of) + 1
    quantity = np.where(web[of], 1, rng.integers(5, 9, len(of)))
    lines = pd.DataFrame({"order_id": of + 501, "line": line, "product_id": bought, "quantity": quantity})
    by = np.repeat(np.arange(n), 2)
    at = joined[by] + np.tile([1, 3], n) * np.timedelta64(600, "s")
    ids = [f"e-{i:05d}" for i in rng.permutation(2 * n)]
    events = pd.DataFrame({"id": ids, "customer_id": by + 1, "at": at, "what": np.tile(["view", "buy"], n)})
    return dict(zip(NAMES, (customers, products, orders, lines, events), strict=True))


def written(path: Path, tables: dict[str, pd.DataFrame], declared: str = DECLARED) -> Path:
    with sqlite3.connect(path) as database:
        database.executescript(declared)
        for name, frame in tables.items():
            plain = frame.assign(**{c: frame[c].astype(str) for c in frame if frame[c].dtype.kind == "M"})
            plain.to_sql(name, database, if_exists="append", index=False)
    database.close()
    return path


@pytest.fixture(scope="module")
def made() -> dict[str, pd.DataFrame]:
    return shop()


@pytest.fixture(scope="module")
def base(made: dict[str, pd.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("shop") / "shop.db", made)


@pytest.fixture(scope="module")
def quick(base: Path) -> pofx.Fitted:
    """Keys must hold whatever was learned: three steps."""
    return pofx.fit(base, tables="all", steps=3, quiet=True)


def whole(tables: dict[str, pd.DataFrame]) -> None:
    """Asserts that every key of the shop holds."""
    for child, column, parent in (
        ("orders", "customer_id", "customers"), ("lines", "order_id", "orders"), ("lines", "product_id", "products"),
        ("events", "customer_id", "customers"),
    ):  # fmt: skip
        assert tables[child][column].isin(tables[parent]["id"]).all(), (child, column)
    for name in ("customers", "products", "orders", "events"):
        assert tables[name]["id"].is_unique
    assert not tables["lines"].duplicated(["order_id", "line"]).any()


# -- what was learned --------------------------------------------------------------------------------------------------


def test_conditionals_of_a_made_shop(base: Path) -> None:
    tables = pofx.fit(base, tables="all", steps=150, quiet=True).sample(scale=1.5, seed=5)
    whole(tables)
    customers, orders, events = tables["customers"], tables["orders"], tables["events"]
    count = orders.groupby("customer_id").size().reindex(customers["id"], fill_value=0).to_numpy()
    gold = (customers["class"] == "gold").to_numpy()
    assert 3.4 < count[gold].mean() < 4.4
    assert count[~gold].mean() < 1.1
    assert count.max() <= 5
    orders["earlier"] = orders.groupby("customer_id")["amount"].shift()
    assert orders[["amount", "earlier"]].corr().iloc[0, 1] > 0.8
    since = orders.groupby("customer_id")["placed"].diff().dropna()
    assert since.min() >= pd.Timedelta(hours=1)
    assert since.max() <= pd.Timedelta(hours=20)
    whose = orders.merge(customers, left_on="customer_id", right_on="id")
    assert (whose["placed"] > whose["joined"]).all()
    lines = tables["lines"].merge(orders, left_on="order_id", right_on="id").merge(
        tables["products"], left_on="product_id", right_on="id")  # fmt: skip
    web = lines["channel"] == "web"
    assert lines["quantity"][~web].mean() > lines["quantity"][web].mean() + 3
    assert (lines["kind"][web] == "book").mean() > 0.8
    assert (lines["kind"][~web] == "book").mean() < 0.2
    first = events.sort_values("at", kind="stable").groupby("customer_id")["what"].first()
    assert (first == "view").mean() > 0.9


def test_keys_hold_after_a_few_steps(quick: pofx.Fitted) -> None:
    for seed in range(3):
        whole(quick.sample(scale=0.7, seed=seed))
    tables = quick.sample(roots=40, seed=1)
    assert len(tables["customers"]) == 40
    assert list(tables["customers"]["id"]) == list(range(1, 41))
    assert tables["orders"]["id"].min() == 501
    assert tables["events"]["id"].str.fullmatch(r"e-\d{5}").all()
    assert list(tables["lines"].columns) == ["order_id", "line", "product_id", "quantity"]
    assert len(quick.sample(roots={"customers": 9, "products": 3}, seed=1)["products"]) == 3
    for seed in range(-1, 6):  # of so few some tables are empty
        whole(quick.sample(roots={"customers": 1, "products": 1}, seed=seed))


def test_a_seed_decides_and_a_file_keeps(quick: pofx.Fitted, tmp_path: Path) -> None:
    quick.save(tmp_path / "shop.pofx")
    again = pofx.load(tmp_path / "shop.pofx")
    one, two, other = quick.sample(seed=7), again.sample(seed=7), quick.sample(seed=8)
    for name in NAMES:
        pd.testing.assert_frame_equal(one[name], two[name])
    assert not one["customers"].equals(other["customers"])
    assert "orders, " in again.info()
    with pytest.raises(Unsupported, match="anomaly is for a model of one table"):
        again.anomaly("x.csv")


def test_evidence(quick: pofx.Fitted) -> None:
    evidence = quick.evaluate(quiet=True)
    assert set(evidence.children) == {
        "orders.customer_id", "lines.order_id", "lines.product_id", "events.customer_id"}  # fmt: skip
    assert not any(evidence.keys.values())
    assert evidence.children["orders.customer_id"]["floor"] < evidence.children["orders.customer_id"]["trivial"]
    assert "all of 9 hold" in evidence.summary()


@pytest.mark.guarded
def test_a_fit_ends_with_a_verdict(tmp_path: Path) -> None:
    frames = {name: frame for name, frame in shop(700).items() if name in ("customers", "orders")}
    words = {"tables": "all", "split": (0.6, 0.3, 0.1), "quiet": True}
    model = pofx.fit(frames, steps=1, **words)
    assert model.verdict == "FAIL" and "rows of orders with parent" in model.reasons()[0]
    model.save(tmp_path / "m.pofx")
    assert "verdict    FAIL" in pofx.load(tmp_path / "m.pofx").info()
    with pytest.warns(UserWarning, match="the fit of this model failed: rows of orders"):
        model.sample()
    assert pofx.fit(frames, steps=1, guard=False, **words).verdict == ""
    assert pofx.fit(frames, steps=1, **words | {"split": (0.8, 0.0, 0.2)}).verdict == ""


def of_figures(auc: float, distance: float = 0.02, n: float = 1000.0, broken: int = 0, trivial: float = 0.8) -> Verdict:
    pairs = {"orders": {"auc": auc, "floor": 0.5, "trivial": trivial, "n": n}}
    children = {"orders.customer_id": {"distance": distance, "floor": 0.02, "trivial": 0.3}}
    counts = {"orders.customer_id": ([500, 500], [500, 500])}
    return verdict(TablesEvidence(children, pairs, {"orders.id": broken}, {}, counts))


@pytest.mark.parametrize(
    ("figures", "word", "finding"),
    [
        ({"auc": 0.52}, "PASS", ""), ({"auc": 0.60}, "PASS", ""), ({"auc": 0.72}, "WARN", "little skill"),
        ({"auc": 0.72, "n": 60.0}, "PASS", ""), ({"auc": 0.88}, "FAIL", "worse than trivial"),
        ({"auc": 0.6, "trivial": 0.5}, "WARN", "worse than trivial"),
        ({"auc": 0.95}, "FAIL", "told apart"), ({"auc": 0.5, "broken": 1}, "FAIL", "broken keys"),
        ({"auc": 0.5, "distance": 0.25}, "WARN", "little skill"),
        ({"auc": 0.5, "distance": 0.5}, "FAIL", "worse than trivial"),
    ],
)  # fmt: skip
def test_figures_of_tables_give_a_verdict(figures: dict, word: str, finding: str) -> None:
    found = of_figures(**figures)
    assert found.word == word
    assert {f.name for f in found.findings} >= ({finding} if finding else set())


def test_too_few_entities_are_said_and_not_judged() -> None:
    found = verdict(TablesEvidence())
    assert found.word == "PASS" and "rows were not judged" in str(found)


def test_a_judge_sees_rows_of_the_wrong_parent() -> None:
    frames = {name: frame for name, frame in shop(800).items() if name not in ("events", "products")}
    model = pofx.fit(frames, tables="all", split=(0.5, 0.0, 0.5), steps=3, quiet=True)
    told = model.evaluate(frames, quiet=True).pairs["lines"]
    assert told["floor"] < 0.6 < 0.65 < told["trivial"]
    assert told["auc"] > 0.75


def test_broken_keys_are_counted(made: dict[str, pd.DataFrame]) -> None:
    tables, relations, _, _ = read_several({k: v.copy() for k, v in made.items()})
    assert not any(broken(relations, tables).values())
    bad = dict(made) | {"orders": made["orders"].assign(customer_id=9999), "products": made["products"].assign(id=1)}
    tables = {name: read_several({name: frame})[0][name] for name, frame in bad.items()}
    found = broken(relations, tables)
    assert found["orders.customer_id -> customers"] == len(made["orders"])
    assert found["products.id"] == 11


# -- in and out --------------------------------------------------------------------------------------------------------


def test_sqlite_in_and_out(quick: pofx.Fitted, tmp_path: Path) -> None:
    out = tmp_path / "out.db"
    rows = quick.sample(scale=0.5, seed=1, path=out)
    with sqlite3.connect(out) as database:
        assert not database.execute("PRAGMA foreign_key_check").fetchall()
        assert sum(database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in NAMES) == rows
        assert {row[2] for row in database.execute("PRAGMA foreign_key_list(lines)")} == {"orders", "products"}
        assert [row[1] for row in database.execute("PRAGMA table_info(lines)") if row[5]] == ["order_id", "line"]
    database.close()
    assert read_several(out)[1].to_json() == quick.relations.to_json()
    with pytest.raises(CodecError, match="without the tables"):
        quick.sample(path=out)
    assert quick.sample(scale=0.5, seed=1, path=out, if_exists="replace") == rows


def test_duckdb_in_and_out(quick: pofx.Fitted, tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    out = tmp_path / "out.duckdb"
    quick.sample(scale=0.5, seed=1, path=out)
    tables, relations, kind, notes = read_several(out)
    assert notes["keys"] == "declared" and kind == "duckdb"
    assert {m.name: m for m in relations} == {m.name: m for m in quick.relations}
    model = pofx.fit(out, tables="customers,orders", steps=2, quiet=True)
    assert set(model.sample(scale=0.2, seed=1)) == {"customers", "orders"}


def test_a_folder_in_and_out(made: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, frame in made.items():
        if name == "products":
            frame.to_parquet(folder / f"{name}.parquet")
        else:
            frame.to_csv(folder / f"{name}.csv", index=False)
    model = pofx.fit(folder, kind="tables", steps=2, quiet=True)
    assert model.provenance["keys"] == "found"
    assert model.relations["lines"].key == ("order_id", "line")
    assert model.relations["lines"].links == (Link("order_id", "orders", "id"), Link("product_id", "products", "id"))
    model.sample(scale=0.5, seed=1, path=tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "customers.csv", "events.csv", "lines.csv", "orders.csv", "products.parquet"]  # fmt: skip
    whole({name: pd.read_csv(tmp_path / "out" / f"{name}.csv") for name in NAMES if name != "products"}
          | {"products": pd.read_parquet(tmp_path / "out" / "products.parquet")})  # fmt: skip
    with pytest.raises(CodecError, match="new or empty folder"):
        model.sample(path=tmp_path / "out")
    model.sample(scale=0.5, seed=1, path=tmp_path / "typed.db")
    with sqlite3.connect(tmp_path / "typed.db") as database:
        kinds = {row[1]: row[2] for row in database.execute("PRAGMA table_info(orders)")}
    database.close()
    assert kinds == {"id": "INTEGER", "customer_id": "INTEGER", "placed": "TIMESTAMP", "channel": "TEXT",
                     "amount": "INTEGER"}  # fmt: skip


def test_words_of_the_command_line(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, out, figures = tmp_path / "m.pofx", tmp_path / "out.db", tmp_path / "e.json"
    assert main(["profile", str(base), "--tables", "all"]) == 0
    assert "    lines" in capsys.readouterr().out
    assert main(["fit", str(base), "--tables", "all", "-o", str(model), "--steps", "2", "--quiet"]) == 0
    assert main(["sample", str(model), "--scale", "0.2", "-o", str(out), "--seed", "1", "--quiet"]) == 0
    page = tmp_path / "page.html"
    assert main(["evaluate", str(model), "--json", str(figures), "-o", str(page), "--quiet"]) == 0
    told = page.read_text()
    assert told.count("<svg") >= 4 and "All 9 keys hold in every row" in told and "orders.customer_id" in told
    assert "http://" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", told)
    kept = json.loads(figures.read_text())
    assert not any(kept["keys"].values()) and f"Beside held-out entities: {kept['verdict']['word']}" in told
    assert all(finding["words"].split(":")[0] in told for finding in kept["verdict"]["findings"])
    assert main(["score", str(model), str(base), "-o", str(tmp_path / "s.db"), "--draws", "3"]) == 2
    assert main(["sample", str(model), "--given", "a = 1", "-o", str(tmp_path / "p.db")]) == 2
    for words in (["--table", "orders"], ["--resume"], ["--from", str(model)], ["--epsilon", "1"]):
        assert main(["fit", str(base), "--tables", "all", "-o", str(model), "--quiet", *words]) == 2


@pytest.mark.parametrize("words", [
    ["score", "{model}", "x.csv", "-o", "y.csv"], ["complete", "{model}", "x.csv", "-o", "y.csv"],
    ["continue", "{model}", "-o", "y.txt"], ["denoise", "{model}", "x.png", "-o", "y.png"],
    ["upscale", "{model}", "x.png", "-o", "y.png"], ["compress", "{model}", "x.png", "-o", "y.bin"],
    ["check", "{model}"], ["plot", "{model}", "-o", "y.png"], ["prior", "{model}", "-o", "y.pofx"],
    ["anomaly", "{model}", "x.csv", "-o", "y.csv"], ["encode", "{model}", "x.csv", "-o", "y.csv"],
    ["edit", "{model}", "x.csv", "-o", "y.csv", "--toward", "a"], ["doctor", "{folder}", "--kind", "tables"],
    ["evaluate", "{model}", "--target", "a"], ["interpolate", "{model}", "x.csv", "y.csv", "-o", "z.csv"],
], ids=lambda words: words[0])  # fmt: skip
def test_verbs_of_one_table_say_so(
    words: list[str], quick: pofx.Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    quick.save("m.pofx")
    folder = tmp_path / "in"
    folder.mkdir()
    for name, frame in shop(40).items():
        frame.to_csv(folder / f"{name}.csv", index=False)
    assert main([word.format(model="m.pofx", folder=folder) for word in words]) == 2
    assert "expected" in (said := capsys.readouterr().err) or "table" in said


# -- keys --------------------------------------------------------------------------------------------------------------


def test_keys_are_found_by_names_and_values() -> None:
    users = pd.DataFrame({"user_id": [3, 5, 9, 11], "age": [20, 30, 40, 50]})
    posts = pd.DataFrame({"post_id": list("abcd"), "user_id": [3, 3, 9, 3], "editor_user_id": [5, None, None, 3]})
    relations = read_several({"posts": posts, "users": users})[1]
    assert relations["users"].key == ("user_id",)
    assert relations["posts"].links == (Link("user_id", "users", "user_id"), Link("editor_user_id", "users", "user_id"))
    assert relations.tree().splitlines() == [
        "users, key user_id",
        "  posts, key post_id, by user_id, editor_user_id -> users.user_id",
    ]
    more = pd.DataFrame({"user_id": [3, 5], "height": [180, 170]})
    relations = read_several({"people": users, "posts": posts, "person": more})[1]
    assert relations["people"].key == ("user_id",)
    assert relations["person"].key == () and relations["person"].links == (Link("user_id", "people", "user_id"),)


def test_keys_are_given(made: dict[str, pd.DataFrame]) -> None:
    keys = {"lines": {"key": None, "product_id": "products", "order_id": "orders.id"}, "events": {"time": "at"}}
    tables, relations, _, notes = read_several(made, "all", keys)
    assert notes["keys"] == "given"
    context = relations["lines"].context
    assert context is not None and context.parent == "products"
    assert relations["lines"].key == () and relations["orders"].links == ()
    for bad, words in (
        ({"line": {}}, "a table of keys"),
        ({"lines": {"nothing": "orders"}}, "column of 'lines'"),
        ({"lines": {"order_id": "order"}}, "the table that lines.order_id leads to"),
        ({"lines": {"order_id": "orders.no"}}, "column of 'orders'"),
        ({"lines": "orders"}, "expected keys of 'lines'"),
        ({"orders": {"key": "number"}}, "column of 'orders'"),
    ):
        with pytest.raises(SpecError, match=words):
            given(bad, tables)


def test_a_circle_of_parents_is_refused_and_a_second_key_is_none() -> None:
    a, b = Member("a", ("id",), (Link("b_id", "b", "id"),)), Member("b", ("id",), (Link("a_id", "a", "id"),))
    with pytest.raises(SpecError, match="circle of parents, got a -> b -> a"):
        Relations([a, b])
    c = Member("c", ("id",))
    more = Member("b", ("id",), (Link("c_id", "c", "id"), Link("a_id", "a", "id")))
    assert [m.name for m in Relations([a, more, c])] == ["c", "b", "a"]


def test_a_table_that_refers_to_itself_is_matched() -> None:
    rng = np.random.default_rng(0)
    boss = pd.array([None, *rng.integers(1, 10, 79).tolist()], "Int64")
    staff = pd.DataFrame({"id": np.arange(80) + 1, "level": ["top"] * 10 + ["low"] * 70, "manager_id": boss})
    keys = {"staff": {"key": "id", "manager_id": "staff"}}
    model = pofx.fit({"staff": staff}, keys=keys, steps=40, quiet=True)
    assert "manager_id -> staff.id (itself)" in model.info()
    made = model.sample(scale=3, seed=1)["staff"]
    assert made["manager_id"].dropna().isin(made["id"]).all()
    level = made.set_index("id")["level"]
    assert (level[made["manager_id"].dropna()] == "top").mean() > 0.6


def test_rows_without_a_parent_and_pairs_as_keys(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    students = pd.DataFrame({"id": np.arange(60), "year": rng.integers(1, 4, 60)})
    courses = pd.DataFrame({"id": np.arange(5), "points": [5, 5, 10, 10, 15]})
    pairs = [(s, c) for s in range(60) for c in rng.permutation(5)[: rng.integers(0, 4)]]
    taken = pd.DataFrame(pairs, columns=["student_id", "course_id"])
    visits = pd.DataFrame({"student_id": pd.array([*range(30), *[None] * 30], "Int64"), "hour": np.arange(60) % 24})
    keys = {"taken": {"key": ["student_id", "course_id"], "student_id": "students", "course_id": "courses"},
            "visits": {"student_id": "students"}}  # fmt: skip
    frames = {"students": students, "courses": courses, "taken": taken, "visits": visits}
    made = pofx.fit(frames, keys=keys, steps=20, quiet=True).sample(scale=2, seed=1)
    assert not made["taken"].duplicated().any()
    assert made["taken"]["student_id"].isin(made["students"]["id"]).all()
    assert made["taken"]["course_id"].isin(made["courses"]["id"]).all()
    assert made["visits"]["student_id"].isna().sum() == 60


# -- bad input ---------------------------------------------------------------------------------------------------------


def test_orphans_and_doubles(made: dict[str, pd.DataFrame]) -> None:
    orphans = dict(made) | {"orders": made["orders"].assign(customer_id=[99999, *made["orders"]["customer_id"][1:]])}
    with pytest.raises(CodecError, match=r"in orders.customer_id values of customers.id, got 1 .*'99999'"):
        pofx.fit(orphans, tables="all", steps=1, quiet=True)
    doubles = dict(made) | {"customers": pd.concat([made["customers"], made["customers"][:1]])}
    keys = {"customers": {"key": "id"}, "orders": {"customer_id": "customers"}}
    with pytest.raises(CodecError, match=r"a value of its own .* customers.id, got 1 values"):
        pofx.fit(doubles, keys=keys, steps=1, quiet=True)
    lines = dict(made) | {"lines": pd.concat([made["lines"], made["lines"][:1]])}
    with pytest.raises(CodecError, match="rows that share them"):
        pofx.fit(lines, keys={"lines": {"key": ["order_id", "line"], "order_id": "orders"}}, steps=1, quiet=True)


def test_what_cannot_be_read(made: dict[str, pd.DataFrame], base: Path, tmp_path: Path) -> None:
    with pytest.raises(CodecError, match="expected rows in the table 'products'"):
        pofx.fit(dict(made) | {"products": made["products"][:0]}, tables="all", steps=1)
    with pytest.raises(SpecError, match="tables among 'customers'"):
        pofx.fit(base, tables="customers,order", steps=1)
    with pytest.raises(CodecError, match="expected a database at"):
        pofx.fit(tmp_path / "none.db", tables="all", steps=1)
    with pytest.raises(CodecError, match="a folder of tables"):
        pofx.fit(tmp_path, tables="all", steps=1)
    with pytest.raises(Unsupported, match="no condition with several tables"):
        pofx.fit(base, tables="all", condition=["class"], steps=1)
    with pytest.raises(Unsupported, match="no model with several tables"):
        pofx.fit(base, tables="all", model="vae", steps=1)
    with pytest.raises(Unsupported, match="no epsilon with several tables"):
        pofx.fit(base, tables="all", epsilon=1.0, steps=1)
    with pytest.raises(SpecError, match="fields of the tables"):
        pofx.fit(base, tables="all", fields={"no": {}}, steps=1, quiet=True)
    keys = {"customers": {}, "orders": {"customer_id": "customers", "time": "channel"}}
    with pytest.raises(SpecError, match=r"dates or whole numbers in orders.channel"):
        pofx.fit(base, keys=keys, steps=1, quiet=True)


def test_keys_that_cannot_be_made_anew_are_said(made: dict[str, pd.DataFrame]) -> None:
    keys = {"orders": {"key": ["customer_id", "placed"], "customer_id": "customers"}}
    tables, relations, _, notes = read_several({k: made[k] for k in ("customers", "orders")}, "all", keys)
    assert relations["orders"].key == ()
    assert notes["orders, key"].startswith("customer_id, placed, not kept")


def test_foreign_keys_of_two_columns_are_refused(tmp_path: Path) -> None:
    declared = """CREATE TABLE a (x INTEGER, y INTEGER, PRIMARY KEY (x, y));
        CREATE TABLE b (x INTEGER, y INTEGER, FOREIGN KEY (x, y) REFERENCES a (x, y));"""
    frame = pd.DataFrame({"x": [1, 2, 3], "y": [1, 1, 2]})
    path = written(tmp_path / "two.db", {"a": frame, "b": frame}, declared)
    with pytest.raises(Unsupported, match=r"foreign keys of one column, got b \(x, y\) -> a"):
        read_several(path)


def test_a_database_that_goes_away(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pofx.codecs.sqlite_io import Sqlite

    rows, insert, seen = Sqlite.rows, Sqlite.insert, []

    def gone(self: Sqlite, *args: object, **words: object) -> object:
        seen.append(args)
        if len(seen) == 3:
            raise sqlite3.OperationalError("disk I/O error")
        return (insert if words else rows)(self, *args, **words)

    model = pofx.fit(base, tables="customers,products", steps=1, quiet=True)
    monkeypatch.setattr(Sqlite, "rows", gone)
    with pytest.raises(CodecError, match="could not read .*disk I/O error"):
        pofx.fit(base, tables="all", steps=1, quiet=True)
    monkeypatch.setattr(Sqlite, "rows", rows)
    seen[:] = [(), ()]
    monkeypatch.setattr(Sqlite, "insert", gone)
    with pytest.raises(CodecError, match="could not write to .*disk I/O error"):
        model.sample(path=tmp_path / "out.db", seed=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("words", "said"), [
    ({"scale": 0.0}, "scale above zero"), ({"scale": 1.0, "roots": 3}, "got both"),
    ({"roots": {"orders": 3}}, "roots among"), ({"roots": {"customers": 3, "products": 0}}, "at least one row"),
])  # fmt: skip
def test_numbers_that_do_not_fit(quick: pofx.Fitted, words: dict, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        quick.sample(**words)


# -- parts -------------------------------------------------------------------------------------------------------------


def test_siblings_stand_in_order_of_time() -> None:
    found = Siblings.of(np.array([1, 0, 1, -1, 1, -1]), np.array([5, 1, 3, 2, 4, 2]))
    assert found.rank.tolist() == [2, 0, 0, 0, 1, 0]
    assert found.before.tolist() == [4, -1, -1, -1, 2, -1]


def test_columns_of_a_law_tell_the_rows(made: dict[str, pd.DataFrame]) -> None:
    """decode(encode(rows)) are the rows, moments as well."""
    tables, relations, _, _ = read_several(made)
    house, codecs, laws = looked(tables, relations)
    for name, law in laws.items():
        base = law.base(relations, codecs, house)
        back = law.decode(law.encode(house, base), base)
        for column, v in house.x[name].items():
            np.testing.assert_array_equal(back[column], v)


def looked(tables: dict, relations: Relations) -> tuple[Household, dict, dict[str, Law]]:
    from pofx.codecs.relations import rows_of

    parent = rows_of(relations, tables)
    rows = {name: table.num_rows for name, table in tables.items()}
    part = shared(relations, parent, rows, (0.8, 0.1, 0.1), 0)
    codecs = learned(tables, relations, part, None)
    house = Household.read(tables, relations, codecs, parent)
    laws = {m.name: Law.look(m, relations, codecs, house, part[m.name] == 0, 1, 0, {"size": "small"})[0]
            for m in relations}  # fmt: skip
    return house, codecs, laws


def test_moments_that_are_missing_and_steps_of_whole_numbers() -> None:
    """Sessions of half the users have no date; steps count by twos; ends come an hour after their step's moment."""
    rng = np.random.default_rng(0)
    since = pd.Series(np.datetime64("2024-01-01", "s") + np.arange(80) * np.timedelta64(86400, "s"))
    users = pd.DataFrame({"id": np.arange(80), "since": since.where(np.arange(80) % 2 == 0)})
    by = np.repeat(np.arange(80), 4)
    begun = np.datetime64("2024-06-01", "s") + rng.integers(0, 10**5, 320) * np.timedelta64(60, "s")
    begun[::7] = np.datetime64("NaT")
    rows = {
        "user_id": by,
        "step": np.tile([3, 5, 7, 9], 80),
        "begun": begun,
        "ended": begun + np.timedelta64(3600, "s"),
    }
    keys = {"steps": {"user_id": "users", "time": "step"}}
    frames = {"users": users, "steps": pd.DataFrame(rows)}
    tables, relations, _, _ = read_several(frames, "all", keys)
    house, codecs, laws = looked(tables, relations)
    law = laws["steps"]
    assert law.time == "step" and {p.name for p in law.passing} == {"step", "begun", "ended"}
    for name, one in laws.items():
        base = one.base(relations, codecs, house)
        back = one.decode(one.encode(house, base), base)
        for column, v in house.x[name].items():
            np.testing.assert_array_equal(back[column], v)
    made = pofx.fit(frames, keys=keys, steps=30, memory=2, quiet=True).sample(seed=1)["steps"]
    assert (made.groupby("user_id")["step"].diff().dropna() > 0).all()
    found, _, _ = looked(*read_several(frames, "all", {"steps": {"user_id": "users", "time": "begun"}})[:2])
    assert found.rows["steps"] == 320


def test_rows_without_a_base_have_moments_of_their_own() -> None:
    frames = {
        "users": pd.DataFrame({"id": np.arange(40), "age": np.arange(40) % 7}),
        "visits": pd.DataFrame({"user_id": np.repeat(np.arange(40), 3),
                                "at": np.datetime64("2024-06-01", "s") + np.tile([0, 50, 90], 40)}),
    }  # fmt: skip
    model = pofx.fit(frames, tables="all", steps=5, quiet=True)
    assert [f.name for f in model.laws["visits"].fields] == ["after:at", "at:at"]
    made = model.sample(scale=3, seed=1)["visits"]
    assert made["at"].notna().all()
    assert made["at"].min() == pd.Timestamp("2024-06-01")
    assert (made.groupby("user_id")["at"].diff().dropna() >= pd.Timedelta(seconds=40)).all()


def test_rows_that_stood_by_time_do_so(made: dict[str, pd.DataFrame]) -> None:
    orders = made["orders"].sort_values("placed").assign(id=np.arange(len(made["orders"])) + 1)
    lines = made["lines"].assign(order_id=orders.index.to_numpy().argsort()[made["lines"]["order_id"] - 501] + 1)
    model = pofx.fit(dict(made) | {"orders": orders, "lines": lines}, tables="all", steps=2, quiet=True)
    tables = model.sample(seed=1)
    assert tables["orders"]["placed"].is_monotonic_increasing
    assert not tables["orders"]["customer_id"].is_monotonic_increasing
    assert tables["orders"]["id"].is_monotonic_increasing
    assert tables["lines"]["order_id"].isin(tables["orders"]["id"]).all()
    since = tables["orders"].merge(tables["customers"], left_on="customer_id", right_on="id")
    assert (since["placed"] > since["joined"]).all()


def test_children_go_where_their_parents_go(made: dict[str, pd.DataFrame]) -> None:
    from pofx.codecs.relations import rows_of

    tables, relations, _, _ = read_several(made)
    parent = rows_of(relations, tables)
    part = shared(relations, parent, {k: t.num_rows for k, t in tables.items()}, (0.8, 0.1, 0.1), 0)
    assert (part["lines"] == part["orders"][parent["lines", "order_id"]]).all()
    assert (part["orders"] == part["customers"][parent["orders", "customer_id"]]).all()
    assert set(part["customers"].tolist()) == {0, 1, 2}
    assert not part["products"].any()


def test_untrained_laws_make_as_many_children_as_they_drew(made: dict[str, pd.DataFrame]) -> None:
    tables, relations, _, _ = read_several(made)
    _, _, laws = looked(tables, relations)
    house, rank = drawn(relations, laws, {"customers": 60, "products": 9}, {}, 3)
    at = house.parent["orders", "customer_id"]
    assert (np.bincount(at, minlength=60) == house.children["customers"]["orders.customer_id"]).all()
    assert rank["orders"].max() <= 4


def test_matching_meets_levels_and_shares() -> None:
    from pofx.fields import Category, Real

    rng = np.random.default_rng(0)
    kind, price = np.arange(20, dtype=np.int32) % 2, np.arange(20.0)
    fields = [Category.learn("kind", kind, ("a", "b")), Real.learn("price", price)]
    pick = rng.integers(0, 20, 4000)
    wanted = {"kind": kind[pick], "price": price[pick]}
    often = np.where(np.arange(20) < 2, 10, 1)
    at = matched(fields, 4000, wanted, {"kind": kind, "price": price}, np.bincount(pick, minlength=20), rng)
    assert (kind[at] == wanted["kind"]).all()
    assert np.abs(at - pick).mean() < 1.0
    at = matched([], 4000, {}, {}, often, rng)
    assert abs((at < 2).mean() - 20 / 38) < 0.05


def test_pairs_become_different() -> None:
    made = unlike(np.array([0, 0, 0, 1, 1]), np.array([1, 1, 1, 2, 2]), 2, np.random.default_rng(0))
    assert sorted(made[:3].tolist()) == [-1, 0, 1]
    made = unlike(np.zeros(4, np.int64), np.zeros(4, np.int64), 9, np.random.default_rng(0))
    assert len(set(made.tolist())) == 4 and (made >= 0).all()


def test_the_distance_of_counts() -> None:
    assert apart(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])) == pytest.approx(0.25)
    assert apart(np.array([1, 2]), np.array([5, 6])) == 1.0


def test_values_of_keys_are_alike_whatever_their_type() -> None:
    import pyarrow as pa

    numbers, floats = pa.chunked_array([[1, None]]), pa.chunked_array([[1.0, None]])
    texts = pa.chunked_array([["1", ""]])
    assert (
        values_of(numbers).to_pylist() == values_of(floats).to_pylist() == values_of(texts).to_pylist() == ["1", None]
    )


# -- conditions and scores ---------------------------------------------------------------------------------------------


def test_conditions_on_roots_hold_and_what_is_below_them_follows(quick: pofx.Fitted) -> None:
    dates = "customers.joined in [2021-03-01, 2021-03-31]"
    made = quick.sample(0.3, given=["customers.class = gold", dates, "products.kind in {book, toy}"], seed=3)
    whole(made)
    assert set(made["customers"]["class"]) == {"gold"} and set(made["products"]["kind"]) <= {"book", "toy"}
    assert pd.to_datetime(made["customers"]["joined"]).between("2021-03-01", "2021-03-31").all()
    same = quick.sample(0.3, given={"customers": {"class": "gold"}}, seed=3)
    assert set(same["customers"]["class"]) == {"gold"} and len(same["customers"]) == len(made["customers"])


def test_conditions_that_cannot_be(quick: pofx.Fitted) -> None:
    with pytest.raises(Unsupported, match="on tables without parents, got one on 'orders'"):
        quick.sample(given="orders.channel = web")
    with pytest.raises(SpecError, match="TABLE.COLUMN = ..., got 'class = gold'"):
        quick.sample(given="class = gold")
    with pytest.raises(SpecError, match="expected conditions on 'customers', 'products'"):
        quick.sample(given={"nobody": {"class": "gold"}})
    with pytest.raises(CodecError, match="silver"):
        quick.sample(given="customers.class = silver")


@pytest.fixture(scope="module")
def trained(made: dict[str, pd.DataFrame]) -> pofx.Fitted:
    return pofx.fit(made, tables="all", steps=400, dropout=0.0, bins=8, quiet=True)


def test_scores_are_of_rows_given_those_above_and_sum_to_whole_entities(
    trained: pofx.Fitted, made: dict[str, pd.DataFrame]
) -> None:
    told = trained.score(made)
    assert all(np.isfinite(told[name]["log_prob"]).all() for name in NAMES)
    assert [name for name in NAMES if "log_prob_below" in told[name]] == ["customers", "products"]
    orders = told["orders"].assign(own=told["orders"]["log_prob"])
    lines = told["lines"].groupby("order_id")["log_prob"].sum()
    orders["own"] += orders["id"].map(lines).fillna(0)
    total = orders.groupby("customer_id")["own"].sum()
    events = told["events"].groupby("customer_id")["log_prob"].sum()
    customers = told["customers"].set_index("id")
    wanted = customers["log_prob"].add(total, fill_value=0).add(events, fill_value=0)
    np.testing.assert_allclose(customers["log_prob_below"], wanted.loc[customers.index], rtol=1e-9)
    assert (told["products"]["log_prob"] == told["products"]["log_prob_below"]).all()


def test_what_contradicts_its_parent_is_unlikely(trained: pofx.Fitted, made: dict[str, pd.DataFrame]) -> None:
    plain = trained.score(made)
    swapped = dict(made) | {
        "customers": made["customers"].assign(
            **{"class": made["customers"]["class"].map({"gold": "plain", "plain": "gold"})}
        )
    }
    other = trained.score(swapped)
    assert other["customers"]["log_prob"].mean() < plain["customers"]["log_prob"].mean() - 1
    late = dict(made) | {
        "lines": made["lines"].assign(quantity=made["lines"]["quantity"].sample(frac=1, random_state=0).to_numpy())
    }
    assert trained.score(late)["lines"]["log_prob"].mean() < plain["lines"]["log_prob"].mean() - 0.5


def test_a_law_without_its_idle_columns_sums_to_one() -> None:
    """Moments that count from a parent's where there is one: the column that says nothing costs nothing."""
    rng = np.random.default_rng(0)
    homes = pd.DataFrame(
        {
            "id": np.arange(60),
            "since": np.datetime64("2020-01-01", "s") + rng.integers(0, 9, 60) * np.timedelta64(86400, "s"),
        }
    )
    homes.loc[::3, "since"] = pd.NaT
    visits = pd.DataFrame({"home_id": np.repeat(np.arange(60), 2)})
    visits["at"] = homes["since"].fillna(pd.Timestamp("2020-02-01")).repeat(2).to_numpy() + np.tile(
        [1, 2], 60
    ) * np.timedelta64(86400, "s")
    model = pofx.fit({"homes": homes, "visits": visits}, tables="all", steps=60, quiet=True)
    law = model.laws["visits"]
    assert any(len(one.has) == 2 for one in law.passing)
    told = model.score({"homes": homes, "visits": visits})
    assert np.isfinite(told["visits"]["log_prob"]).all()
    codecs = {name: one.codec for name, one in model.laws.items()}
    house = Household.read(read_several({"homes": homes, "visits": visits})[0], model.relations, codecs)
    base = law.base(model.relations, codecs, house)
    x = law.encode(house, base)
    c = law.context(house) | law.remembered(x, law.siblings(house).before)
    whole_value = law.model.log_prob({f.name: x[f.name] for f in law.fields}, c)
    assert (told["visits"]["log_prob"].to_numpy() >= whole_value - 1e-6).all()


def test_scores_of_the_command_line(base: Path, quick: pofx.Fitted, tmp_path: Path) -> None:
    quick.save(tmp_path / "m.pofx")
    assert main(["score", str(tmp_path / "m.pofx"), str(base), "-o", str(tmp_path / "scored.db"), "--quiet"]) == 0
    with sqlite3.connect(tmp_path / "scored.db") as database:
        rows = database.execute("SELECT count(*), sum(log_prob), sum(log_prob_below) FROM customers").fetchone()
    database.close()
    assert rows[0] == 250 and rows[2] < rows[1] < 0
    words = ["sample", str(tmp_path / "m.pofx"), "-n", "20", "--given", "customers.class = plain"]
    assert main([*words, "-o", str(tmp_path / "out.db"), "--quiet"]) == 0
    assert "log_prob_" in quick.score(tmp_path / "scored.db")["orders"]
    with pytest.raises(CodecError):
        quick.score(tmp_path / "nowhere.db")


def invoices(n: int = 200) -> dict[str, pd.DataFrame]:
    """Firms and their invoices, whose total is net and tax, and of which no more is paid than net."""
    rng = np.random.default_rng(1)
    firms = pd.DataFrame({"id": np.arange(n), "staff": rng.integers(5, 90, n)})
    firms["guards"] = (firms["staff"] * rng.random(n)).astype(int)
    firm = np.repeat(np.arange(n), rng.integers(1, 4, n))
    net = rng.integers(10, 900, len(firm))
    tax = (net * rng.choice([7, 19], len(firm)) / 100).round().astype(int)
    paid = (rng.random(len(firm)) * net).astype(int)
    day = np.datetime64("2024-01-01") + rng.integers(0, 60, len(firm))
    bills = pd.DataFrame({"id": np.arange(len(firm)), "firm_id": firm, "sent": day, "net": net, "tax": tax,
                          "total": net + tax, "paid": paid})  # fmt: skip
    return {"firms": firms, "bills": bills}


@pytest.mark.parametrize(
    "asked", ["found", {"bills": ["total = net + tax", "paid <= net"], "firms": ["guards <= staff"]}]
)
def test_constraints_hold_in_every_table(asked: object, tmp_path: Path) -> None:
    model = pofx.fit(invoices(), tables="all", steps=20, quiet=True, constraints=asked)
    assert "total = net + tax" in model.provenance["notes"]["bills, constraints"]
    told_of = model.provenance["notes"].get("firms, constraints", "")  # few firms say nothing for sure
    assert ("guards <= staff" in told_of) == (asked != "found")
    model.save(tmp_path / "m.pofx")
    for own in (model, pofx.load(tmp_path / "m.pofx")):
        made = own.sample(2.0, seed=4)
        bills, firms = made["bills"], made["firms"]
        assert (bills["total"] == bills["net"] + bills["tax"]).all() and bills["firm_id"].isin(firms["id"]).all()
        if asked != "found":
            assert (firms["guards"] <= firms["staff"]).all() and (bills["paid"] <= bills["net"]).all()
    told = model.score(invoices())
    odd = invoices()
    odd["bills"].loc[3, "total"] += 1
    assert model.score(odd)["bills"]["log_prob"][3] < told["bills"]["log_prob"][3] - 3
    free = pofx.fit(invoices(), tables="all", steps=2, quiet=True, constraints="none").sample(seed=4)["bills"]
    assert not (free["total"] == free["net"] + free["tax"]).all()


def test_constraints_that_cannot_be_held_over_tables(tmp_path: Path) -> None:
    odd = invoices()
    odd["bills"].loc[3, "total"] += 1
    rules = {"bills": ["total = net + tax"]}
    with pytest.raises(CodecError, match="table 'bills': expected rows that keep the given constraints, 1 of"):
        pofx.fit(odd, tables="all", steps=2, quiet=True, constraints=rules)
    pofx.fit(odd, tables="all", steps=2, quiet=True, constraints=rules, dirty="keep").sample()
    with pytest.raises(SpecError, match="constraints of the tables 'firms', 'bills', got 'none of them'"):
        pofx.fit(odd, tables="all", steps=2, quiet=True, constraints={"none of them": []})
    with pytest.raises(SpecError, match="expected constraints by table"):
        pofx.fit(odd, tables="all", steps=2, quiet=True, constraints=["total = net + tax"])
    with pytest.raises(SpecError, match="expected constraints of one table as texts"):
        pofx.fit(odd["bills"], steps=2, quiet=True, constraints=rules)
    base = written(tmp_path / "b.db", invoices(), "")
    (tmp_path / "rules.json").write_text(json.dumps(rules))
    words = ["fit", str(base), "--tables", "all", "-o", str(tmp_path / "m.pofx"), "--steps", "2", "--quiet"]
    assert main([*words, "--constraints", str(tmp_path / "rules.json")]) == 0


# -- missing cells -----------------------------------------------------------------------------------------------------


def test_missing_cells_are_filled_from_what_is_known_above_and_before(
    trained: pofx.Fitted, made: dict[str, pd.DataFrame]
) -> None:
    holes = {name: frame.copy() for name, frame in made.items()}
    rng = np.random.default_rng(0)
    gone = {name: rng.random(len(frame)) < 0.3 for name, frame in made.items()}
    holes["customers"]["class"] = holes["customers"]["class"].mask(gone["customers"])
    holes["lines"]["quantity"] = holes["lines"]["quantity"].astype(float).mask(gone["lines"])
    holes["orders"]["placed"] = holes["orders"]["placed"].mask(gone["orders"])
    holes["orders"]["channel"] = holes["orders"]["channel"].mask(gone["orders"])
    full = trained.complete(holes, seed=1)
    whole(full)
    for name in NAMES:
        assert list(full[name].columns) == list(made[name].columns) and not full[name].isna().any().any(), name
    for name, column in (("customers", "class"), ("lines", "quantity"), ("orders", "placed"), ("orders", "channel")):
        kept = ~gone[name]
        assert (full[name][column][kept].to_numpy() == made[name][column][kept].to_numpy()).all(), column
    own = full["customers"]["class"] == made["customers"]["class"]
    orders = made["orders"].groupby("customer_id").size().reindex(made["customers"]["id"]).fillna(0).to_numpy()
    assert own[gone["customers"] & (orders >= 3)].mean() > 0.6  # the number of orders tells: .4 by chance
    web = full["lines"]["order_id"].map(full["orders"].set_index("id")["channel"]) == "web"
    one = full["lines"]["quantity"][gone["lines"]] == 1
    assert (one == web[gone["lines"]]).mean() > 0.7  # .5 by chance: and the channel, drawn or known, tells of its lines
    placed, joined = (
        full["orders"]["placed"],
        full["orders"]["customer_id"].map(full["customers"].set_index("id")["joined"]),
    )
    assert (placed >= joined).mean() > 0.97
    again = trained.complete(holes, seed=1)
    assert all(full[name].equals(again[name]) for name in NAMES)


def test_tables_without_holes_are_as_they_were(trained: pofx.Fitted, made: dict[str, pd.DataFrame]) -> None:
    full = trained.complete(made)
    for name in NAMES:
        pd.testing.assert_frame_equal(full[name], made[name])


def test_filled_cells_keep_constraints() -> None:
    model = pofx.fit(invoices(), tables="all", steps=20, quiet=True, constraints={"bills": ["total = net + tax"]})
    holes = invoices()
    holes["bills"]["tax"] = holes["bills"]["tax"].astype(float).mask(holes["bills"].index % 3 == 0)
    holes["bills"]["total"] = holes["bills"]["total"].astype(float).mask(holes["bills"].index % 5 == 0)
    bills = model.complete(holes)["bills"].astype({"net": int, "tax": int, "total": int})
    assert (bills["total"] == bills["net"] + bills["tax"]).all()


def test_completions_of_the_command_line(base: Path, quick: pofx.Fitted, tmp_path: Path) -> None:
    quick.save(tmp_path / "m.pofx")
    with sqlite3.connect(base) as old, sqlite3.connect(tmp_path / "holes.db") as new:
        old.backup(new)
        new.execute("UPDATE orders SET channel = NULL WHERE id % 2 = 0")
    old.close(), new.close()
    words = ["complete", str(tmp_path / "m.pofx"), str(tmp_path / "holes.db")]
    assert main([*words, "-o", str(tmp_path / "full.db"), "--quiet"]) == 0
    with sqlite3.connect(tmp_path / "full.db") as database:
        assert database.execute("SELECT count(*) FROM orders WHERE channel IS NULL").fetchone() == (0,)
    database.close()
    assert main([*words, "--quiet"]) == 2 and main([*words, "-o", str(tmp_path / "x"), "--draws", "2"]) == 2
