"""The first models of the three families, and the closed baselines, against what is known exactly."""

import copy
import itertools
import math
from functools import cache

import numpy as np
import pytest
import torch

from pofx.errors import SpecError, Unsupported
from pofx.field import Allowed
from pofx.fields import Category, Integer, Real
from pofx.models import create
from pofx.models.lifted import Sight, house, intervals, pick
from pofx.models.model import Clock, Model
from pofx.spec import Columns, Spec

SMALL: dict[str, dict] = {
    "vae": {"latent": 4, "width": 32, "depth": 1, "components": 3, "samples": 16},
    "realnvp": {"transforms": 4, "width": 32, "depth": 1, "samples": 16},
    "gan": {"latent": 8, "width": 32, "depth": 1},
    "gaussian_copula": {"samples": 16},
    "independent": {},
}
SCORED = [name for name in SMALL if name != "gan"]
TRAINED = ["vae", "realnvp", "gan"]


def mixed(n: int = 600, seed: int = 0) -> tuple[Columns, Spec]:
    """A number with atoms and missing cells, an integer, a category with missing cells, a category; all related."""
    random = np.random.default_rng(seed)
    size = random.normal(size=n)
    amount = np.where(random.random(n) < 0.3, 0.0, np.round(np.exp(size), 2))
    amount[random.random(n) < 0.1] = np.nan
    age = np.round(40 + 10 * size + 3 * random.normal(size=n)).astype(np.int64)
    group = (size + 0.3 * random.normal(size=n) > 0).astype(np.int32)
    colour = np.where(random.random(n) < 0.1, -1, np.digitize(-size, [-0.5, 1.0])).astype(np.int32)
    fields = (
        Real.learn("amount", amount, 2),
        Integer.learn("age", age),
        Category.learn("group", group, ("a", "b")),
        Category.learn("colour", colour, ("red", "green", "blue")),
    )
    return {"amount": amount, "age": age, "group": group, "colour": colour}, Spec.table(fields)


def train(model: Model, x: Columns, c: Columns | None = None, steps: int = 150, rate: float = 3e-3) -> Model:
    generator, data = torch.Generator().manual_seed(0), model.prepare(x, c)
    recipe, n = model.recipe(len(data[0])), len(data[0])
    model.start(data)
    optimisers = {
        player: torch.optim.AdamW(weights, lr=rate, betas=recipe.betas) for player, weights in model.players().items()
    }
    for step in range(steps):
        index = torch.randint(n, (128,), generator=generator)
        for player, loss in model.turns(tuple(part[index] for part in data), Clock(step, steps), generator):
            optimiser = optimisers[player]
            optimiser.param_groups[0]["lr"] = rate * (0.51 + 0.49 * math.cos(math.pi * step / steps))
            optimiser.zero_grad()
            loss.mean().backward()
            optimiser.step()
    return model


def fitted(name: str, x: Columns, spec: Spec, c: Columns | None = None) -> Model:
    model = create(name, spec, **SMALL[name])
    if model.trained:
        return train(model, x, c, steps=150)
    model.fit_closed(x, c)
    return model


@cache
def usual(name: str) -> Model:
    """The model fitted to `mixed()`, once for all tests that only ask it."""
    return fitted(name, *mixed())


def shaken(model: Model, size: float = 0.1) -> Model:
    """The model in float64, every weight moved at random."""
    generator = torch.Generator().manual_seed(3)
    model.double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(size * torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
    return model


def take(x: Columns, index: object) -> Columns:
    return {name: column[index] for name, column in x.items()}


def same(a: Columns, b: Columns) -> bool:
    return all(np.array_equal(a[k], b[k], equal_nan=a[k].dtype.kind == "f") for k in a) and list(a) == list(b)


def noise(model: Model, n: int, seed: int = 0) -> torch.Tensor:
    return model.noise(n, torch.Generator().manual_seed(seed))


# -- laws of them all ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_decode_gives_stored_rows_that_depend_on_their_own_noise_alone(name: str) -> None:
    x, spec = mixed()
    model = usual(name)
    z = noise(model, 200)
    y = model.decode(z)
    assert list(y) == list(x) and all(y[k].dtype == x[k].dtype for k in x)
    assert all(field.contains(y[field.name]).all() for field in spec.fields)
    assert same(take(y, slice(50)), model.decode(z[:50])) and same(y, model.decode(z))


@pytest.mark.parametrize("name", SCORED)
def test_scores_depend_on_their_own_row_alone(name: str) -> None:
    x, spec = mixed()
    model = usual(name)
    score = model.log_prob(x)
    assert score.shape == (600,) and score.dtype == np.float64 and np.isfinite(score).all()
    assert np.array_equal(score, model.log_prob(x))
    mixed_up = np.random.default_rng(0).permutation(600)[:100]
    np.testing.assert_allclose(model.log_prob(take(x, mixed_up)), score[mixed_up], atol=1e-4)


@pytest.mark.parametrize("name", SCORED)
def test_a_cell_never_seen_is_unlikely_and_not_impossible(name: str) -> None:
    x, spec = mixed()
    model = usual(name)
    row = take(x, slice(5))
    strange = row | {"age": np.full(5, 900), "group": np.full(5, 2, np.int32)}
    score = model.log_prob(strange)
    assert np.isfinite(score).all() and (score < model.log_prob(row)).all()
    alone = create("independent", spec).log_prob(strange)
    assert np.abs(score - alone).max() < 15


@pytest.mark.parametrize("name", ["vae", "realnvp", "gaussian_copula"])
def test_learning_relations_beats_the_independent_law(name: str) -> None:
    x, spec = mixed(2000)
    model = create(name, spec, **SMALL[name])
    train(model, x, steps=300) if model.trained else model.fit_closed(x)
    held, _ = mixed(500, seed=1)
    gain = model.log_prob(held) - create("independent", spec).log_prob(held)
    assert gain.mean() > 0.6
    drawn = model.decode(noise(model, 2000))
    assert np.corrcoef(drawn["age"], drawn["group"])[0, 1] > 0.45


@pytest.mark.parametrize("name", ["vae", "realnvp", "gaussian_copula"])
def test_masses_of_all_cells_sum_to_one(name: str) -> None:
    """Importance weights are unbiased, so the sum over a whole small table is one but for their noise."""
    random = np.random.default_rng(0)
    first = random.integers(0, 3, 300).astype(np.int32)
    second = np.where(random.random(300) < 0.8, first // 2, 1).astype(np.int64)
    spec = Spec.table((Category.learn("a", first, ("x", "y", "z")), Integer.learn("b", second)))
    model = create(name, spec, **SMALL[name] | {"samples": 4000})
    if name == "gaussian_copula":
        model.fit_closed({"a": first, "b": second})
    else:
        shaken(model, 0.05)
    cells = np.array(list(itertools.product(range(3), range(2))))
    table = {"a": cells[:, 0].astype(np.int32), "b": cells[:, 1]}
    mass = np.exp(model.log_prob(table) - house(spec.fields, table).sum(1))
    assert mass.sum() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("name", TRAINED)
def test_the_condition_is_learned_and_wanted(name: str) -> None:
    x, spec = mixed(1000)
    both = Spec.table(tuple(f for f in spec.fields if f.name in ("age", "colour")), (spec.field("group"),))
    rows, c = {k: x[k] for k in ("age", "colour")}, {"group": x["group"]}
    model = fitted(name, rows, both, c)
    z, age = noise(model, 400), []
    for code in (0, 1):
        age.append(model.decode(z, {"group": np.full(400, code, np.int32)})["age"].mean())
    assert age[1] - age[0] > 5
    with pytest.raises(SpecError, match="expected the condition columns 'group', got none"):
        model.decode(z)


@pytest.mark.parametrize("name", ["vae", "realnvp", "gan", "gaussian_copula"])
def test_conditions_that_a_model_cannot_keep_are_refused(name: str) -> None:
    x, spec = mixed(50)
    model = create(name, spec, **SMALL[name])
    given = {"group": Allowed(codes=frozenset({0}))}
    with pytest.raises(Unsupported, match=rf"'{name}' cannot sample under conditions: these can: .*independent"):
        model.decode(noise(model, 3), given=given)
    if "known" not in model.abilities:
        with pytest.raises(Unsupported, match="complete missing cells"):
            model.decode(noise(model, 50), known=(x, np.ones((50, 4), bool)))


@pytest.mark.parametrize("name", SMALL)
def test_one_row_of_one_level_can_be_learned(name: str) -> None:
    x = {"a": np.zeros(1, np.int32), "b": np.array([np.nan])}
    spec = Spec.table((Category.learn("a", x["a"], ("only",)), Real.learn("b", x["b"])))
    model = create(name, spec, **SMALL[name])
    if model.trained:
        train(model, x, steps=2)
    else:
        model.fit_closed(x)
    y = model.decode(noise(model, 4))
    assert (y["a"] == 0).all() and np.isnan(y["b"]).all()


# -- how a row is seen -----------------------------------------------------------------------------------------------


def test_the_sight_gives_back_what_it_saw() -> None:
    x, spec = mixed()
    for codes in (True, False):
        sight = Sight(spec.fields, codes)
        lo, width, code = sight.see(x)
        assert code.shape == (600, 2 if codes else 0)
        for u in (0.001, 0.5, 0.999):
            assert same(sight.lower(lo + u * width, code), x)


def test_the_sight_integrates_out_what_was_never_seen() -> None:
    x, spec = mixed()
    strange = take(x, slice(1)) | {"age": np.array([900]), "colour": np.array([3], np.int32)}
    lo, width, code = Sight(spec.fields).see(strange)
    assert (lo[0, 1].item(), width[0, 1].item(), code[0, 1].item()) == (0.0, 1.0, -1)
    assert house(spec.fields, strange)[0, 1] == spec.field("age").surprise(strange["age"])[0]
    lo, width = intervals(spec.fields, x)
    log_prob = create("independent", spec).cells(x)
    np.testing.assert_allclose(np.log(width) + house(spec.fields, x), log_prob, atol=1e-9)


def test_pick_follows_the_law() -> None:
    logits = torch.log(torch.tensor([0.2, 0.5, 0.3])).expand(1000, 3)
    index = pick(logits, (torch.arange(1000) + 0.5) / 1000)
    assert torch.bincount(index).tolist() == pytest.approx([200, 500, 300], abs=1)
    assert pick(logits[:2], torch.tensor([0.0, 1.0])).tolist() == [0, 2]


# -- independent -----------------------------------------------------------------------------------------------------


def test_independent_sums_to_what_three_unseen_states_leave() -> None:
    random = np.random.default_rng(0)
    columns = {name: random.integers(-1, 2, 40).astype(np.int32) for name in "abc"}
    spec = Spec.table(tuple(Category.learn(name, v, ("x", "y")) for name, v in columns.items()))
    cells = np.array(list(itertools.product((-1, 0, 1), repeat=3)), np.int32)
    table = dict(zip("abc", cells.T, strict=True))
    model = create("independent", spec)
    assert np.exp(model.log_prob(table) - house(spec.fields, table).sum(1)).sum() == pytest.approx(1.0)
    left = math.exp(sum(field.log_seen for field in spec.fields))
    assert np.exp(model.log_prob(table)).sum() == pytest.approx(left)


def test_independent_keeps_conditions_and_known_cells() -> None:
    x, spec = mixed()
    model = create("independent", spec)
    given = {"age": Allowed(intervals=((30.0, 35.0),)), "colour": Allowed(codes=frozenset({1}), missing=True)}
    y = model.decode(noise(model, 600), given=given)
    assert y["age"].min() >= 30 and y["age"].max() <= 35 and set(y["colour"]) == {-1, 1}
    known = np.random.default_rng(0).random((600, 4)) < 0.5
    y = model.decode(noise(model, 600), known=(x, known))
    for j, name in enumerate(x):
        np.testing.assert_array_equal(y[name][known[:, j]], x[name][known[:, j]])
    np.testing.assert_allclose(model.marginal((x, known)), (model.cells(x) * known).sum(1))


# -- gaussian_copula -------------------------------------------------------------------------------------------------


def normal_pair(n: int, rho: float) -> tuple[np.ndarray, Columns, Spec]:
    z = np.random.default_rng(0).multivariate_normal([0, 0], [[1, rho], [rho, 1]], n)
    x = {"a": np.round(3 * z[:, 0] + 1, 3), "b": np.round(z[:, 1], 3)}
    return z, x, Spec.table((Real.learn("a", x["a"], 3), Real.learn("b", x["b"], 3)))


def test_copula_recovers_a_bivariate_normal() -> None:
    z, x, spec = normal_pair(10_000, 0.7)
    model = fitted("gaussian_copula", x, spec)
    assert model.correlation[0, 1].item() == pytest.approx(0.7, abs=0.02)
    a, b = z.T
    exact = -0.5 * math.log(1 - 0.49) - (0.49 * (a * a + b * b) - 1.4 * a * b) / (2 * (1 - 0.49))
    got = model.log_prob(x) - create("independent", spec).log_prob(x)
    assert abs((got - exact).mean()) < 0.02 and np.abs(got - exact).mean() < 0.03


def test_copula_sees_through_wide_cells() -> None:
    """Two coins that are the signs of normals of correlation 0.7 agree with probability 1/2 + asin(0.7)/pi."""
    z, _, _ = normal_pair(10_000, 0.7)
    x = {"a": (z[:, 0] > 0).astype(np.int32), "b": (z[:, 1] > 0).astype(np.int64)}
    spec = Spec.table((Category.learn("a", x["a"], ("n", "y")), Integer.learn("b", x["b"])))
    model = fitted("gaussian_copula", x, spec)
    assert abs(model.correlation[0, 1].item()) == pytest.approx(0.7, abs=0.05)
    y = model.decode(noise(model, 10_000))
    assert (y["a"] == y["b"]).mean() == pytest.approx(0.5 + math.asin(0.7) / math.pi, abs=0.02)


def test_copula_of_more_columns_than_rows_can_be_drawn() -> None:
    x = {f"c{j}": np.random.default_rng(j).normal(size=8).round(2) for j in range(20)}
    spec = Spec.table(tuple(Real.learn(name, v, 2) for name, v in x.items()))
    model = fitted("gaussian_copula", x | {"c1": x["c0"]}, spec)
    assert torch.linalg.eigvalsh(model.correlation).min() > 0
    assert len(model.decode(noise(model, 9))["c0"]) == 9


# -- realnvp ---------------------------------------------------------------------------------------------------------


def test_realnvp_starts_as_the_independent_law() -> None:
    x, spec = mixed()
    model, alone = create("realnvp", spec, **SMALL["realnvp"]), create("independent", spec)
    np.testing.assert_allclose(model.log_prob(x), alone.log_prob(x), atol=1e-9)
    loss = model.double().loss(model.prepare(x), Clock(0, 1), torch.Generator().manual_seed(0))
    np.testing.assert_allclose(-loss.detach().numpy(), alone.log_prob(x), atol=1e-9)


def test_realnvp_decodes_what_it_encodes() -> None:
    x, spec = mixed()
    model = shaken(create("realnvp", spec, **SMALL["realnvp"]))
    z = model.encode(x)
    assert same(model.decode(z), x)
    start = create("realnvp", spec, **SMALL["realnvp"]).double().encode(x)
    assert (z - start).abs().max() > 0.1


# -- vae -------------------------------------------------------------------------------------------------------------


def test_vae_that_ignores_its_code_is_the_independent_law() -> None:
    x, spec = mixed()
    model = create("vae", spec, **SMALL["vae"] | {"prior": "normal", "masked": 0.0}).double()
    batch = model.prepare(x)
    model.start(batch)
    with torch.no_grad():
        model.decoder.net.last[-1].weight.zero_()
        model.encoder.net.last[-1].weight.zero_(), model.encoder.net.bias.zero_()
    own, _, c = model.opened(batch)
    assert model.latents.divergence(model.encoder(model.lens.see(own), c)).abs().max() == 0
    wanted = create("independent", spec).log_prob(x)
    loss = model.loss(batch, Clock(1, 1), torch.Generator().manual_seed(0))
    np.testing.assert_allclose(-loss.detach().numpy(), wanted, atol=1e-6)
    np.testing.assert_allclose(model.log_prob(x), wanted, atol=1e-6)


def test_vae_bound_rises_with_the_draws_and_the_code_is_used() -> None:
    x, spec = mixed()
    model, scores = copy.deepcopy(usual("vae")), []
    for k in (1, 8, 64):
        model.samples = k
        scores.append(model.log_prob(x).mean())
    assert scores[0] < scores[1] < scores[2] < scores[0] + 3
    assert np.corrcoef(model.encode(x).numpy().T, x["age"])[-1, :-1].__abs__().max() > 0.5
