"""Likelihood heads by field: masses sum to one, draws have them and lie in what was seen, wrong heads are refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from made import mixed, spec_of
from scipy.stats import nbinom

import pofx
from pofx.errors import SpecError
from pofx.field import MISSING, Field
from pofx.fields import Category, Count, Integer, Ordinal, Real
from pofx.models import create
from pofx.models.laws import Counts, Ordered, cells_of
from pofx.models.lens import RowLens
from pofx.models.lifted import house
from pofx.spec import Columns, Spec
from pofx.training.loop import Trainer

HEADS = {"visits": "zero_inflated", "calls": "count", "rooms": "ordinal", "grade": "ordinal", "odd": "count",
         "price": "normal", "heavy": "student", "rest": "mixture"}  # fmt: skip


def table(n: int = 500, seed: int = 0) -> tuple[Columns, Spec]:
    """A column or two for each head, with missing cells, gaps, a constant, and levels; all follow one factor."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)
    visits = np.where(rng.random(n) < 0.4, 0, rng.poisson(np.exp(1 + 0.8 * z)))
    calls = rng.poisson(np.exp(2.0 - 0.5 * z)) + 3
    calls[rng.random(n) < 0.1] = MISSING
    rooms = np.clip(np.round(3 + 1.5 * z + rng.normal(size=n) * 0.3), 1, 6).astype(np.int64)
    rooms[rng.random(n) < 0.05] = MISSING
    grade = np.concatenate([np.arange(4), np.clip(np.round(1.5 + z[4:]), 0, 3)]).astype(np.int32)
    grade[10:30] = -1
    price, heavy, rest = np.round(np.exp(z), 2), np.round(z + rng.standard_t(3, n), 2), rng.integers(-5, 900, n)
    price[rng.random(n) < 0.1], heavy[rng.random(n) < 0.2], rest[rng.random(n) < 0.3] = np.nan, np.nan, MISSING
    x = {
        "visits": visits.astype(np.int64), "grade": grade, "price": price, "calls": calls,
        "sex": np.concatenate([np.arange(2), (z[2:] > 0)]).astype(np.int32), "rooms": rooms, "heavy": heavy,
        "odd": np.full(n, 7, np.int64), "rest": rest,
    }  # fmt: skip
    fields: dict[str, Field] = {
        "visits": Count.learn("visits", x["visits"]), "grade": Ordinal.learn("grade", grade, ("a", "b", "c", "d")),
        "price": Real.learn("price", x["price"], 2), "calls": Integer.learn("calls", x["calls"]),
        "sex": Category.learn("sex", x["sex"], ("f", "m")), "rooms": Integer.learn("rooms", rooms),
        "heavy": Real.learn("heavy", x["heavy"], 2), "odd": Integer.learn("odd", x["odd"]),
        "rest": Integer.learn("rest", x["rest"]),
    }  # fmt: skip
    return x, Spec.table(tuple(fields.values()))


X, SPEC = table()
LENS = RowLens(SPEC, HEADS, 3, 8, blanks=True)


def theta(rows: int = 1, seed: int = 0) -> torch.Tensor:
    start = LENS.marginal(LENS.prepare(X)[0])
    return start + torch.randn(rows, *LENS.told, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def every(field: Field) -> np.ndarray:
    """All stored values that were seen, and a missing one if any was."""
    return np.concatenate([field.value(cells_of(field)), field.none(int(field.has_missing))])


def masses(name: str, said: torch.Tensor) -> np.ndarray:
    """log p of every state of a column, the others integrated out, in the house measure without the step."""
    field, values = SPEC.field(name), every(SPEC.field(name))
    x = {k: np.resize(v, len(values)) for k, v in X.items()} | {name: values}
    own, _ = LENS.prepare(x)
    hidden = torch.tensor([f.name != name for f in SPEC.fields]).expand(len(values), -1)
    log_mass = LENS.log_mass(said[None].expand(1, len(values), -1), LENS.hide(own, hidden))[0]
    return log_mass.detach().numpy() + house((field,), {name: values})[:, 0] + field.steps(values)


@pytest.mark.parametrize("name", list(X))
@pytest.mark.parametrize("seed", [0, 1])
def test_masses_of_all_states_seen_sum_to_what_unseen_ones_leave(name: str, seed: int) -> None:
    field = SPEC.field(name)
    total = np.exp(masses(name, theta(1, seed))).sum()
    assert total == pytest.approx(np.exp(field.log_seen), abs=1e-6)
    assert total + 4 * field.epsilon == pytest.approx(1.0, abs=1e-6)


def test_draws_have_the_masses_and_lie_in_what_was_seen() -> None:
    said, n = theta(), 40_000
    u = torch.rand(n, LENS.draws, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    drawn = LENS.draw(said.expand(n, -1), u)
    for field in SPEC.fields:
        v = drawn[field.name]
        assert v.dtype == field.dtype and field.contains(v).all()
        p = np.exp(masses(field.name, said) - field.log_seen)
        values = every(field)
        for at in np.argsort(-p)[:6]:
            share = field.absent(v).mean() if field.absent(values[at : at + 1])[0] else (v == values[at]).mean()
            assert abs(share - p[at]) < 4 * np.sqrt(p[at] * (1 - p[at]) / n) + 1e-6, field.name
    centre = LENS.centre(said)
    assert all(field.contains(centre[field.name]).all() for field in SPEC.fields)


def test_draws_that_are_there_have_the_masses_of_what_is_there() -> None:
    said, n = theta(), 40_000
    u = torch.rand(n, LENS.draws, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    drawn = LENS.draw(said.expand(n, -1), u, there=True)
    for field in SPEC.fields:
        v, values = drawn[field.name], every(field)
        assert field.contains(v).all() and not field.absent(v).any()
        p = np.exp(masses(field.name, said)) * ~field.absent(values)
        p = p / p.sum()
        for at in np.argsort(-p)[:6]:
            share = (v == values[at]).mean()
            assert abs(share - p[at]) < 4 * np.sqrt(p[at] * (1 - p[at]) / n) + 1e-6, field.name


def test_columns_of_one_head_are_one_law_and_each_keeps_its_column() -> None:
    assert [type(law).__name__ for law in LENS.laws] == ["Cells"] * 3 + ["Counts"] * 2 + ["Ordered", "Levels"]
    assert sorted(j for law in LENS.laws for j in law.of) == list(range(len(SPEC.fields)))
    two = next(law for law in LENS.laws if isinstance(law, Counts) and not law.zeros)
    assert [SPEC.fields[j].name for j in two.of] == ["calls", "odd"]


def test_counts_are_negative_binomial_over_the_cells_seen() -> None:
    said = theta()
    law = next(law for law in LENS.laws if isinstance(law, Counts) and not law.zeros)
    part = said.split(LENS.sizes, -1)[list(LENS.laws).index(law)].view(3, 2)[:, 0]
    g, m, r = float(torch.sigmoid(part[0])), *(float((12 * torch.tanh(v / 12)).exp()) for v in part[1:])
    k = every(SPEC.field("calls"))[:-1]
    p = nbinom.pmf(k, r, r / (r + m))
    wanted = np.append((1 - g) * p / p.sum(), g)
    np.testing.assert_allclose(np.exp(masses("calls", said) - SPEC.field("calls").log_seen), wanted, rtol=1e-6)


def test_zeros_are_added_and_nothing_else_changes() -> None:
    law = Counts(RowLens(SPEC, "mixture", 1, 8, False).sight, [0], zeros=True)
    said = torch.tensor([[[0.0], [1.0], [0.5], [-0.3]]], dtype=torch.float64)
    plain = Counts(RowLens(SPEC, "mixture", 1, 8, False).sight, [0], zeros=False).table(said[:, :3]).exp()[0, :, 0]
    more = 1 / (1 + np.exp(0.3))
    got = law.table(said).exp()[0, :, 0]
    torch.testing.assert_close(got[1:], (1 - more) * plain[1:])
    assert float(got[0]) == pytest.approx(more + (1 - more) * float(plain[0]))


def test_ordered_levels_start_at_the_fields_own_law_and_move_with_the_location() -> None:
    start = LENS.marginal(LENS.prepare(X)[0])[None]
    for name in ("rooms", "grade"):
        field, values = SPEC.field(name), every(SPEC.field(name))
        np.testing.assert_allclose(masses(name, start), field.log_prob(values), atol=1e-4)
    law = next(law for law in LENS.laws if isinstance(law, Ordered))
    means = []
    for m in (-2.0, 0.0, 2.0):
        said = torch.zeros(1, 3, 2, dtype=torch.float64)
        said[:, 1] = m
        means.append((law.table(said).exp()[0] * torch.arange(law.count)[:, None]).sum(0))
    assert (means[0] < means[1]).all() and (means[1] < means[2]).all()


def test_the_start_of_counts_has_their_mean_and_missing_share() -> None:
    start = LENS.marginal(LENS.prepare(X)[0])[None]
    for name in ("calls", "visits"):
        field, values = SPEC.field(name), every(SPEC.field(name)).astype(float)
        p = np.exp(masses(name, start) - field.log_seen)
        there = ~field.absent(every(field))
        own = X[name][~field.absent(X[name])]
        assert p[~there].sum() == pytest.approx(field.absent(X[name]).mean(), abs=1e-6)
        assert (p * values)[there].sum() / p[there].sum() == pytest.approx(own.mean(), rel=0.35)


def test_cells_never_seen_keep_their_mass() -> None:
    x = {k: v[:1].copy() for k, v in X.items()}
    for name, value in (("calls", 10**6), ("rooms", 40), ("grade", 4), ("visits", -3)):
        strange = x | {name: np.array([value], X[name].dtype)}
        (own, extra), (_, usual) = LENS.prepare(strange), LENS.prepare(x)
        field = SPEC.field(name)
        moved = field.surprise(strange[name])[0] - (field.log_seen - field.steps(x[name])[0])
        assert (extra - usual).item() == pytest.approx(moved)
        hidden = torch.tensor([[f.name != name for f in SPEC.fields]])
        assert LENS.log_mass(theta()[None], LENS.hide(own, hidden)).detach().item() == pytest.approx(0.0, abs=1e-9)


def test_gradients_are_finite_wherever_a_decoder_points() -> None:
    own, _ = LENS.prepare({k: v[:50] for k, v in X.items()})
    for size in (1.0, 30.0):
        leaf = (size * torch.randn(2, 50, *LENS.told, generator=torch.Generator().manual_seed(0))).requires_grad_(True)
        value = LENS.log_mass(leaf, own)
        value.sum().backward()
        assert value.isfinite().all() and leaf.grad.isfinite().all()
        assert all(p.grad.isfinite().all() for p in LENS.laws.parameters())


@pytest.mark.parametrize(
    ("likelihood", "message"),
    [
        ("count", r"column 'price': expected whole numbers from 0 to 10,000.*got a field of kind real.*use likelihood"),
        ({"rest": "count"}, r"column 'rest': expected whole numbers from 0.*values lay in \[-\d, \d+\]"),
        ({"calls": "zero_inflated"}, "column 'calls': expected zeros for 'zero_inflated'.*use 'count'"),
        ({"rest": "ordinal"}, "column 'rest': expected a whole number of at most 64 values.*use likelihood 'mixture'"),
        ({"price": "ordinal"}, "column 'price': expected a whole number of at most 64 values.*of kind real"),
        ({"sex": "normal"}, "column 'sex' is a category, expected softmax, got 'normal': leave it out"),
        ({"rest": "softmax"}, "column 'rest' is no category of few levels, expected likelihood among mixture"),
        ({"age": "count"}, "expected likelihood by columns among 'visits', .*, got 'age'"),
        ({"calls": "poisson"}, "expected likelihood among mixture, normal, student, count, .*, got 'poisson'"),
    ],
)
def test_heads_that_do_not_suit_a_field_are_refused(likelihood: object, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        create("vae", SPEC, likelihood=likelihood)


def test_images_have_one_head() -> None:
    from test_autoencoders import images

    with pytest.raises(SpecError, match="expected likelihood among mixture, normal, student for images, got 'count'"):
        create("vae", images(10)[1], likelihood="count")


@pytest.mark.parametrize("name", ["vae", "iwae", "hvae", "vq", "wae", "aae"])
def test_every_autoencoder_with_a_lens_takes_heads_by_field(name: str) -> None:
    model = create(name, SPEC, likelihood=HEADS, width=16, depth=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Trainer(model, model.prepare(X), None, 0, "cpu", batch=64).run(5)
    drawn = model.decode(model.noise(20, torch.Generator().manual_seed(0)))
    assert all(f.contains(drawn[f.name]).all() for f in SPEC.fields)


def test_a_vae_learns_counts_and_ordered_levels_and_is_kept(tmp_path: Path) -> None:
    import pandas as pd

    x, _ = table(1200)
    frame = pd.DataFrame({k: x[k] for k in ("visits", "rooms", "calls")}).replace(MISSING, 5)
    words = {"visits": "zero_inflated", "rooms": "ordinal", "calls": "count"}
    model = pofx.fit(frame, model="vae", likelihood=words, steps=700, width=32, depth=1, latent=2, samples=32,
                     quiet=True)  # fmt: skip
    alone = pofx.fit(frame, model="independent", quiet=True)
    assert model.log_prob(frame).mean() > alone.log_prob(frame).mean() + 0.2
    model.save(tmp_path / "m.pofx")
    again = pofx.load(tmp_path / "m.pofx")
    assert np.array_equal(again.log_prob(frame), model.log_prob(frame))
    assert set(again.sample(200, seed=0, quiet=True)["rooms"]) <= set(frame["rooms"])


def test_numbers_come_first_and_then_categories() -> None:
    lens = RowLens(spec_of(mixed()), "mixture", 6, 8, blanks=True)
    assert lens.told == (18 * 2 + 3 + 2,) and lens.draws == 2 * 2 + 2
