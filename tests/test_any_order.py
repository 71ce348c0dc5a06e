"""any_order against closed forms: what it says of a table is what that table's law says."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

import pofx
from pofx.field import Allowed
from pofx.fields import Category, Count, Real
from pofx.models import create, load_class
from pofx.models.flows.any_order import JOINT
from pofx.models.made import Made, Pass
from pofx.models.model import Model
from pofx.models.tokens import Codes, Read, Write, invert
from pofx.spec import Columns, Spec
from pofx.training.loop import Trainer

SHAPE = (3, 2, 4)


def grid() -> Columns:
    cells = np.array(list(itertools.product(*map(range, SHAPE))), np.int32)
    return {name: cells[:, j].copy() for j, name in enumerate("abc")}


def law() -> np.ndarray:
    p = np.random.default_rng(3).dirichlet(np.full(np.prod(SHAPE), 0.7))
    return 0.9 * p + 0.1 / len(p)


@pytest.fixture(scope="module")
def known_law() -> tuple[Model, np.ndarray]:
    """A model of three columns of levels, trained on many draws of a law that is known cell by cell."""
    p, cells = law(), grid()
    rows = np.random.default_rng(0).choice(len(p), 20_000, p=p)
    x = {k: v[rows] for k, v in cells.items()}
    fields = tuple(Category.learn(k, x[k], tuple(map(str, range(size)))) for k, size in zip("abc", SHAPE, strict=True))
    model = create("any_order", Spec.table(fields), size="small", dropout=0.0)
    Trainer(model, model.prepare(x), None, 0, "cpu", batch=512, rate=5e-3).run(1500)
    return model, p


def test_it_learns_a_known_law(known_law: tuple[Model, np.ndarray]) -> None:
    model, p = known_law
    q = np.exp(model.log_prob(grid()))
    assert q.sum() == pytest.approx(1.0, abs=2e-3)
    assert (p * np.log(p / q)).sum() < 0.01


def test_what_it_draws_is_what_it_scores(known_law: tuple[Model, np.ndarray]) -> None:
    model, _ = known_law
    n = 40_000
    drawn = model.decode(model.noise(n, torch.Generator().manual_seed(1)))
    code = np.ravel_multi_index(tuple(drawn[k] for k in "abc"), SHAPE)
    seen = np.bincount(code, minlength=int(np.prod(SHAPE)))
    expected = np.exp(model.log_prob(grid())) * n
    assert ((seen - expected) ** 2 / expected).sum() < 55  # chi-square, 23 degrees of freedom, one in 5,000


def test_a_joint_condition_draws_from_the_conditional(known_law: tuple[Model, np.ndarray]) -> None:
    model, p = known_law
    given = {"a": Allowed(codes=frozenset({0, 2})), "c": Allowed(codes=frozenset({1, 3}))}
    n = 20_000
    drawn = model.decode(model.noise(n, torch.Generator().manual_seed(2)), given=given)
    cells = grid()
    inside = np.isin(cells["a"], (0, 2)) & np.isin(cells["c"], (1, 3))
    wanted = np.where(inside, p, 0) / p[inside].sum()
    code = np.ravel_multi_index(tuple(drawn[k] for k in "abc"), SHAPE)
    assert np.abs(np.bincount(code, minlength=len(p)) / n - wanted).sum() < 0.06


def test_completion_draws_from_the_conditional(known_law: tuple[Model, np.ndarray]) -> None:
    model, p = known_law
    n = 20_000
    rows = {"a": np.full(n, 1, np.int32), "b": np.zeros(n, np.int32), "c": np.full(n, 3, np.int32)}
    known = np.tile([True, False, True], (n, 1))
    drawn = model.decode(model.noise(n, torch.Generator().manual_seed(3)), known=(rows, known))
    both = np.exp(
        model.log_prob({"a": np.full(2, 1, np.int32), "b": np.arange(2, dtype=np.int32), "c": np.full(2, 3, np.int32)})
    )
    truth = p.reshape(SHAPE)[1, :, 3]
    assert drawn["b"].mean() == pytest.approx(both[1] / both.sum(), abs=0.02)
    assert drawn["b"].mean() == pytest.approx(truth[1] / truth.sum(), abs=0.05)


def test_the_marginal_integrates_the_others_out(known_law: tuple[Model, np.ndarray]) -> None:
    model, p = known_law
    rows = {"a": np.arange(3, dtype=np.int32), "b": np.zeros(3, np.int32), "c": np.zeros(3, np.int32)}
    got = np.exp(model.marginal((rows, np.tile([True, False, False], (3, 1)))))
    assert np.allclose(got, p.reshape(SHAPE).sum((1, 2)), atol=0.02)


def test_an_untrained_model_has_the_marginal_laws() -> None:
    x = {"a": np.random.default_rng(0).integers(0, 5000, 4000), "b": np.arange(4000) % 7}
    spec = Spec.table(tuple(Count.learn(k, v) for k, v in x.items()))
    model = create("any_order", spec).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith((".weight", ".tip")) and "write" in name:
                p.zero_()
    want = sum(f.log_prob(x[f.name]) for f in spec.fields)
    assert np.allclose(model.log_prob(x), want, atol=1e-4)


def test_many_joint_cells_are_kept_by_weight() -> None:
    x = {k: np.random.default_rng(i).integers(0, 200, 3000) for i, k in enumerate("abc")}
    model = create("any_order", Spec.table(tuple(Count.learn(k, v) for k, v in x.items())), size="small").eval()
    wide = {k: Allowed(intervals=((10, 150),)) for k in "abc"}
    drawn = model.decode(model.noise(2000, torch.Generator().manual_seed(0)), given=wide)
    assert all((drawn[k] >= 10).all() and (drawn[k] <= 150).all() for k in "abc")
    assert 100 < model.effective <= JOINT
    few = create("any_order", model.spec, size="small").eval()
    narrow = {k: Allowed(intervals=((10, 20),)) for k in "abc"}  # all joint cells are enumerated: exact
    few.decode(few.noise(50, torch.Generator().manual_seed(0)), given=narrow)
    assert few.effective == np.inf


def test_a_condition_holds_where_float32_gives_it_no_chance() -> None:
    code = np.arange(3000).astype(np.int32) % 3
    field = Category.learn("a", code, tuple("xyz"))
    model = create("any_order", Spec.table((field, Count.learn("b", np.arange(3000) % 5))), size="small").eval()
    with torch.no_grad():
        head, i = model.net.write.place[0]
        head.bias[i, :3] = torch.tensor([0.0, -200.0, 0.0])
    drawn = model.decode(model.noise(500, torch.Generator().manual_seed(0)), given={"a": Allowed(codes=frozenset({1}))})
    assert (drawn["a"] == 1).all()


def test_a_shorter_sample_is_the_beginning_of_a_longer_one() -> None:
    x = {k: np.random.default_rng(i).integers(0, 50, 3000) for i, k in enumerate("abc")}
    model = create("any_order", Spec.table(tuple(Count.learn(k, v) for k, v in x.items()))).eval()
    z = model.noise(8192 + 17, torch.Generator().manual_seed(0))
    long, short = model.decode(z), model.decode(z[:4096])
    assert all(np.array_equal(long[k][:4096], short[k]) for k in x)


def test_a_hundred_thousand_levels_take_two_codes() -> None:
    code = np.concatenate([np.arange(100_000), np.arange(1000)]).astype(np.int32)
    order = np.argsort(-np.bincount(code), kind="stable")
    code = np.argsort(order)[code].astype(np.int32)
    field = Category.learn("city", code, tuple(map(str, order)))
    codes = Codes((field,), 128, 16)
    assert codes.sizes == [(316, 317)]
    token, inside, _ = codes.encode({"city": code})
    assert np.array_equal(field.decode(token[:, 0], np.full(len(code), 0.5), codes.tokens[0]), code)
    assert np.allclose(inside, field.log_seen)


def test_invert_is_the_inverse_distribution_function() -> None:
    law = torch.tensor([[0.2, 0.0, 0.8], [0.5, 0.5, 0.0]], dtype=torch.float64)
    index, level = invert(law[[0, 0, 0, 1]], np.array([0.1, 0.2, 0.99, 0.75]))
    assert index.tolist() == [0, 2, 2, 1]
    assert np.allclose(level, [0.5, 0.0, 0.79 / 0.8, 0.5])


@pytest.fixture(scope="module")
def codes() -> Codes:
    """Fields of one code and of two, levels and numbers."""
    rng = np.random.default_rng(0)
    many = np.concatenate([np.arange(5000), rng.integers(0, 5000, 5000)]).astype(np.int32)
    many = np.argsort(np.argsort(-np.bincount(many), kind="stable"))[many].astype(np.int32)
    few = np.concatenate([np.arange(3), rng.integers(0, 3, 97)]).astype(np.int32)
    fields = (
        Category.learn("few", few, tuple("abc")),
        Count.learn("count", rng.integers(0, 60, 5000)),
        Count.learn("wide", rng.integers(0, 10**6, 5000)),
        Category.learn("many", many, tuple(map(str, range(5000)))),
    )
    made = Codes(fields, 32, 8)
    assert [m > 1 for _, m in made.sizes] == [False, True, True, True]
    return made


def tokens_of(codes: Codes) -> torch.Tensor:
    size = [len(np.unique(t.token)) and int(t.token.max()) + 1 for t in codes.tokens]
    rng = np.random.default_rng(1)
    return torch.from_numpy(np.stack([rng.choice(np.unique(t.token), 9) for t in codes.tokens], 1)[:, : len(size)])


def test_heads_of_all_classes_agree_with_heads_one_by_one(codes: Codes) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        read, write = Read(codes, 24), Write(codes, 24)
    token = tokens_of(codes)
    h = read(token, token % 2 == 0, [(9, [0] * 4)])
    whole = write(h, token, [(9, [24] * 4)])
    single = torch.stack([write.nll_of(j, h, token[:, j]) for j in range(len(codes.sizes))], 1)
    assert torch.allclose(whole, single, atol=1e-5)


def test_learning_one_field_changes_the_sum_by_its_rows(codes: Codes) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        read = Read(codes, 8)
        torch.nn.init.normal_(read.inner)
    token = tokens_of(codes)
    known = torch.tensor([True, False, False, False]).expand(9, -1)
    parts = [(9, [0] * 4)]
    total = read(token, known, parts)
    for j in (1, 2, 3):
        total = total + read.change(j, token[:, j])
    assert torch.allclose(total, read(token, torch.ones_like(known), parts), atol=1e-4)


def made(codes: Codes, first: int = 0) -> Made:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Made(codes, first, 24, 2, 0.0)
        for p in net.parameters():
            torch.nn.init.normal_(p, std=0.3)
    return net.eval()


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]])
def test_a_term_depends_on_what_lies_before_it_alone(codes: Codes, order: list[int]) -> None:
    net, token = made(codes), tokens_of(codes)
    seen = torch.ones_like(token, dtype=torch.bool)
    before = net(token, seen, [(9, order)])
    for place, j in enumerate(order):
        other = token.clone()
        other[:, j] = token[:, j].flip(0)
        changed = (net(other, seen, [(9, order)]) - before).abs().amax(0) > 0
        assert not changed[order[:place]].any()
        assert changed[order[place + 1 :]].all()


def test_a_pass_is_the_network_unit_by_unit(codes: Codes) -> None:
    """Each row in an order of its own, some values never seen."""
    net, token = made(codes, first=1), tokens_of(codes)
    rng = np.random.default_rng(0)
    orders = np.array([[0, *(1 + rng.permutation(3))] for _ in token])
    seen = rng.random(token.shape) < 0.8
    want = net(token, torch.from_numpy(seen), [(1, order.tolist()) for order in orders])
    walk, rows = Pass(net, len(token)), np.arange(len(token))
    for i in range(4):
        for n, j in enumerate(orders[:, i]) if i else ():
            got = net.write.nll_of(int(j), walk.hidden[[n]], token[[n], j])
            assert torch.allclose(got, want[[n], j], atol=1e-4)
        if i < 3:
            walk.learn(orders[:, i], token.numpy()[rows, orders[:, i]], seen[rows, orders[:, i]])


def test_marginals_of_whole_rows_are_their_likelihood() -> None:
    x = {k: np.random.default_rng(i).integers(0, 50, 3000) for i, k in enumerate("abc")}
    model = create("any_order", Spec.table(tuple(Count.learn(k, v) for k, v in x.items()))).eval()
    whole = np.ones((3000, 3), bool)
    assert np.allclose(model.marginal((x, whole)), model.log_prob(x), atol=1e-4)
    none = model.marginal((x, ~whole))
    assert np.array_equal(none, np.zeros(3000))


def test_fewer_rows_have_fewer_codes_unless_asked_otherwise(tmp_path) -> None:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"a": rng.normal(size=2500).round(3), "b": rng.normal(size=2500).round(3)})
    words = {"model": "any_order", "steps": 2, "quiet": True, "guard": False}
    made = pofx.fit(rows, **words)
    assert made.model.config == made.model.config | {"bins": 22, "fine": 4, "dropout": 0.3}
    assert pofx.fit(rows, bins=40, **words).model.config["bins"] == 40
    made.save(tmp_path / "m.pofx")
    assert pofx.load(tmp_path / "m.pofx").model.codes.sizes == made.model.codes.sizes
    spec = Spec.table((Real.learn("a", rng.normal(size=12_000), 3),))
    assert load_class("any_order").advised(spec) == {}
