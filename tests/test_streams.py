"""Tables that stay on disk: read in one pass, learned from a sample, held against every row, trained from buckets."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pofx import CodecError, SpecError, Unsupported, fit, load
from pofx.cli import main
from pofx.codecs import gleaning, spool
from pofx.codecs.gleaning import glean, sample_of
from pofx.codecs.spool import spooled
from pofx.codecs.table import TableCodec
from pofx.codecs.tabular_io import labelled, read_table
from pofx.codecs.writing import write_table
from pofx.models import create
from pofx.split import fingerprint
from pofx.training import pool as pools
from pofx.training.pool import Pool, PoolFeed


def shop(n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 4, n)
    return pd.DataFrame(
        {
            "kind": np.array(["book", "pen", "cup", "hat"])[kind],
            "shelf": np.array(["A", "B", "A", "C"])[kind],
            "price": np.exp(rng.normal(1 + kind, 0.3)).round(2),
            "count": rng.poisson(3, n),
            "day": pd.to_datetime("2020-01-01") + pd.to_timedelta(rng.integers(0, 60, n), "D"),
            "note": rng.choice(["good", "bad", None], n),
        }
    )


def test_the_fingerprint_is_that_of_the_cells(tmp_path):
    frame = shop(70_000)
    frame.to_parquet(tmp_path / "a.parquet")
    frame.loc[69_000, "price"] += 1
    frame.to_parquet(tmp_path / "b.parquet")
    made = spooled(tmp_path / "a.parquet")
    assert made.count == 2 and fingerprint(made) == fingerprint(spooled(tmp_path / "a.parquet"))
    assert fingerprint(made) != fingerprint(spooled(tmp_path / "b.parquet"))


@pytest.fixture
def small(monkeypatch):
    """Blocks of 500 rows, samples of 400, buckets of 300: what a few thousand rows show of many."""
    monkeypatch.setattr(spool, "BLOCK", 500)
    monkeypatch.setattr(gleaning, "SAMPLE", 400)
    monkeypatch.setattr(pools, "BUCKET", 300)


@pytest.fixture
def file(tmp_path) -> Path:
    shop(2600).to_csv(tmp_path / "shop.csv", index=False)
    return tmp_path / "shop.csv"


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz", "a.parquet", "a.feather", "a.duckdb", "a.db"])
def test_rows_on_disk_are_those_of_the_file(tmp_path, small, name):
    path = tmp_path / name
    table = pa.Table.from_pandas(shop(1730), preserve_index=False)
    if name.endswith("parquet"):
        pq.write_table(table, path)
    elif name.endswith("feather"):
        table.to_pandas().to_feather(path)
    elif name.endswith(("duckdb", "db")):
        pytest.importorskip("duckdb" if "duck" in name else "sqlite3")
        write_table([labelled(table, table.column_names, "arrow")], path)
    else:
        shop(1730).to_csv(path, index=False, sep="\t" if "tsv" in name else ",")
    made, whole = spooled(path), read_table(path)[0]
    assert len(made) == 1730 and [t.num_rows for _, t in made.blocks()] == [500, 500, 500, 230]
    assert pa.concat_tables([t for _, t in made.blocks()]).combine_chunks().equals(whole.combine_chunks())
    numbers = np.array([0, 3, 499, 500, 1729])
    assert made.take(numbers).equals(whole.take(numbers))
    home = made.folder
    del made
    assert not home.exists()


def test_where_the_sample_is_everything_the_codec_is_that_of_memory(file, small):
    made = spooled(file)
    part = np.arange(300)
    one = glean(made, part, sample_of(part, 0))
    two = TableCodec.learn(read_table(file)[0].slice(0, 300), like="csv")
    assert one.profile() == two.profile()
    for a, b in zip(one.whole.fields, two.whole.fields, strict=True):
        np.testing.assert_allclose(a.mass, b.mass, rtol=1e-12)
        assert np.array_equal(a.left, b.left) and a.meta() == b.meta()


def odd(column: str, value: object, where: int) -> pd.DataFrame:
    frame = shop(2600).astype({"price": object, "count": object, "day": object})
    frame["day"] = frame["day"].map(lambda d: str(d)[:10])
    frame.loc[where, column] = value
    return frame


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("count", "none of it", "category"),  # a text among numbers
        ("day", "yesterday", "category"),
        ("kind", "zebra", "category"),  # a level
        ("price", 1e6, "positive"),  # an extreme
        ("count", "", "count"),  # a missing cell
        ("shelf", "Z", "category"),  # a dependency that is broken
    ],
)
def test_what_a_sample_cannot_know_is_found_in_all_rows(tmp_path, small, column, value, told):
    odd(column, value, 2431).to_csv(tmp_path / "odd.csv", index=False)
    made, part = spooled(tmp_path / "odd.csv"), np.arange(2600)
    sample = sample_of(part, 0)
    assert 2431 not in sample
    codec = glean(made, part, sample)
    plan = codec.plan(column)
    whole = TableCodec.learn(read_table(tmp_path / "odd.csv")[0])
    assert plan.how == told == whole.plan(column).how
    assert plan.source is None and [r.target for r in codec.dependencies] == [r.target for r in whole.dependencies]
    x = plan.parse(made.take(np.array([2431]))[column])
    assert plan.field.contains(x).all()
    assert plan.field.has_missing == whole.plan(column).field.has_missing


def test_shares_of_levels_are_counted_over_all_rows(file, small):
    part = np.arange(0, 2600, 2)
    codec = glean(spooled(file), part, sample_of(part, 0))
    whole = TableCodec.learn(read_table(file)[0].take(part))
    for name in ("kind", "note"):
        one, two = codec.plan(name), whole.plan(name)
        share = dict(zip(one.field.levels, one.field.mass[int(one.field.has_missing) :], strict=True))
        other = dict(zip(two.field.levels, two.field.mass[int(two.field.has_missing) :], strict=True))
        assert share == pytest.approx(other) and one.share == pytest.approx(two.share)
    assert codec.rows == 1300


def test_an_epoch_gives_every_row_of_full_batches_once(file, small, tmp_path):
    table = read_table(file)[0]
    codec = TableCodec.learn(table)
    pool = Pool(tmp_path, codec.spec, 2600, 0)
    for start in range(0, 2600, 700):
        pool.add(codec.encode(table.slice(start, 700)))
    assert pool.rows == 2600 and pool.count == 9
    model = create("any_order", codec.spec)
    feed = PoolFeed(pool, model, 16, torch.Generator().manual_seed(1), torch.device("cpu"))
    every = model.prepare(codec.encode(table))[0]
    count = sum(len(next(iter(pool.read(i).values()))) // 16 for i in range(9))
    first = [feed.next()[0] for _ in range(count)]
    order = feed.order
    assert all(len(batch) == 16 for batch in first)
    given = Counter(tuple(row) for batch in first for row in batch.tolist())
    assert given.total() == 16 * count > 2400 and given <= Counter(map(tuple, every.tolist()))
    second = [feed.next()[0] for _ in range(count)]
    assert not torch.equal(order, feed.order) and not torch.equal(first[0], second[0])
    other = PoolFeed(pool, model, 16, torch.Generator().manual_seed(1), torch.device("cpu"))
    other.restore(order, 40)
    assert torch.equal(other.next()[0], first[40])


@pytest.mark.parametrize("model", ["any_order", "nsf", "vae", "gan", "independent", "vq"])
def test_a_fit_from_disk_samples_scores_and_is_judged(file, small, tmp_path, model):
    made = fit(file, model=model, steps=4, reading={"stream": "yes"}, quiet=True, seed=3)
    again = fit(file, model=model, steps=4, reading={"stream": "yes"}, quiet=True, seed=3)
    assert made.provenance["train_rows"] == 2080 and "from disk" in made.info()
    rows = made.sample(50, seed=0, allow_failed=True)
    assert rows.equals(again.sample(50, seed=0, allow_failed=True)) and list(rows) == list(shop(3))
    made.save(tmp_path / "m.pofx")
    assert load(tmp_path / "m.pofx").learned_from()[0].num_rows == 2080


def test_steps_take_all_rows_and_not_the_sample_alone(file, small, monkeypatch):
    read, got = Pool.read, set()

    def heard(self, bucket):
        got.add(bucket)
        return read(self, bucket)

    monkeypatch.setattr(Pool, "read", heard)
    fit(file, steps=2080 // 32, reading={"stream": "yes"}, quiet=True, guard=False)
    assert got == set(range(7))


def test_it_goes_on_after_a_kill(file, small, tmp_path, monkeypatch):
    words = {"steps": 60, "reading": {"stream": "yes"}, "quiet": True, "seed": 1}
    whole = fit(file, **words)
    from pofx.training.loop import Trainer

    plain = Trainer.advance

    def stops(self, total):
        if self.step == 40:
            self.checkpoint.write(*self.state(), total)
            raise KeyboardInterrupt
        return plain(self, total)

    run = Trainer.run

    def kept(self, total, checkpoint=None, *rest):
        self.checkpoint = checkpoint
        return run(self, total, checkpoint, *rest)

    monkeypatch.setattr(Trainer, "run", kept)
    monkeypatch.setattr(Trainer, "advance", stops)
    with pytest.raises(KeyboardInterrupt):
        fit(file, checkpoint=tmp_path / "c", **words)
    monkeypatch.setattr(Trainer, "advance", plain)
    resumed = fit(file, checkpoint=tmp_path / "c", resume=True, **words)
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_scores_stream_to_a_file(file, small, tmp_path, monkeypatch):
    made = fit(file, steps=4, quiet=True)
    made.score(file, path=tmp_path / "memory.csv")
    monkeypatch.setattr(spool, "memory", lambda: 1000.0)
    made.score(file, path=tmp_path / "disk.csv")
    assert (tmp_path / "disk.csv").read_bytes() == (tmp_path / "memory.csv").read_bytes()


def test_a_large_file_stays_on_disk_by_itself(file, small, tmp_path, monkeypatch, capsys):
    assert "from disk" not in fit(file, steps=2, quiet=True).info()
    monkeypatch.setattr(spool, "memory", lambda: 1e5)
    assert "from disk" in fit(file, steps=2, quiet=True).info()
    assert "from disk" not in fit(file, steps=2, quiet=True, reading={"stream": "no"}).info()
    assert main(["fit", str(file), "-o", str(tmp_path / "m.pofx"), "--steps", "2", "--quiet"]) in (0, 1)
    assert main(["profile", str(file)]) == 0
    assert "shelf" in capsys.readouterr().out


def test_a_cell_that_cannot_be_read_is_found_again(file, small, tmp_path, monkeypatch):
    made = fit(file, steps=2, quiet=True)
    rows = shop(1300).astype({"price": object})
    rows.loc[1203, "price"] = "dear"
    rows.to_csv(tmp_path / "odd.csv", index=False)
    monkeypatch.setattr(spool, "memory", lambda: 1000.0)
    words = r"got 'dear' in row 204: .*rows are counted from row 1,001 of the table on"
    with pytest.raises(CodecError, match=words):
        made.score(tmp_path / "odd.csv", path=tmp_path / "scores.csv")
    assert not (tmp_path / "scores.csv").exists()


def test_what_is_learned_in_memory_says_so(file, small):
    with pytest.raises(Unsupported, match="tables under privacy are learned in memory: leave stream out"):
        fit(file, epsilon=1.0, reading={"stream": "yes"}, quiet=True)
    with pytest.raises(Unsupported, match="several tables are learned in memory"):
        fit({"shop": shop(200)}, reading={"stream": "yes"}, quiet=True)
    assert fit({"shop": shop(200)}, reading={"stream": "no"}, steps=2, quiet=True).sample(roots=3, quiet=True)


def test_bad_input(file, small, tmp_path):
    with pytest.raises(SpecError, match="expected stream of auto, yes or no, got 'perhaps'"):
        fit(file, steps=1, reading={"stream": "perhaps"}, quiet=True)
    with pytest.raises(CodecError, match="expected a database or a file of text, Parquet or Feather to be read"):
        fit(shop(100), steps=1, reading={"stream": "yes"}, quiet=True)
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n{"a": 2}\n')
    with pytest.raises(CodecError, match="got jsonl: convert it"):
        fit(tmp_path / "a.jsonl", steps=1, reading={"stream": "yes"}, quiet=True)
    text = file.read_text().splitlines()
    text[1400] += ",one more"
    (tmp_path / "ragged.csv").write_text("\n".join(text))
    with pytest.raises(CodecError, match="does not have the same number of cells in each line"):
        fit(tmp_path / "ragged.csv", steps=1, reading={"stream": "yes"}, quiet=True)
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(CodecError, match="cannot be read"):
        fit(tmp_path / "cut.parquet", steps=1, reading={"stream": "yes"}, quiet=True)
    (tmp_path / "head.csv").write_text("a,b\n")
    with pytest.raises(CodecError, match="expected at least two rows"):
        fit(tmp_path / "head.csv", steps=1, reading={"stream": "yes"}, quiet=True)
    frame = shop(2600)
    frame.loc[2000, "price"] = np.inf
    frame.to_csv(tmp_path / "inf.csv", index=False)
    with pytest.raises(CodecError, match="infinite"):
        fit(tmp_path / "inf.csv", steps=1, reading={"stream": "yes"}, quiet=True)
