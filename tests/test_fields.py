"""Laws of every field, and of its tokens: what is lifted is lowered, masses sum to one, units shift by log c."""

import math

import numpy as np
import pytest

from pofx.errors import SpecError
from pofx.field import MISSING, Allowed, Field
from pofx.fields import KINDS, Bounded, Category, Count, Integer, Ordinal, Real, from_meta

RNG = np.random.default_rng(0)


def levels(n: int) -> np.ndarray:
    code = np.concatenate([np.arange(7), RNG.integers(0, 7, n - 7)])
    return np.where(RNG.random(n) < 0.1, -1, code).astype(np.int32) if n > 20 else code.astype(np.int32)


def made(kind: str, n: int = 3000) -> tuple[Field, np.ndarray]:
    """A field of each kind with atoms, a smooth part and missing cells, and the column it was learned from."""
    cls = KINDS[kind]
    if issubclass(cls, Category):
        code = levels(n)
        order = np.argsort(-np.bincount(code[code >= 0]), kind="stable") if kind == "category" else np.arange(7)
        code = np.where(code < 0, -1, np.argsort(order)[code]).astype(np.int32)
        return cls.learn("x", code, tuple("abcdefg")), code
    if cls.dtype.kind == "i":
        v = np.where(RNG.random(n) < 0.3, 0, RNG.integers(0, 10_000, n) ** 2).astype(np.int64)
        v[RNG.random(n) < 0.1] = MISSING
        return cls.learn("x", v), v
    v = np.round(np.where(RNG.random(n) < 0.3, 0.25, RNG.random(n)) + 0.001, 3).clip(0, 1)
    v[RNG.random(n) < 0.1] = np.nan
    return cls.learn("x", v, 3), v


@pytest.fixture(
    params=sorted(set(KINDS) - {"pixel", "level", "token", "note", "voice"})
)  # these have no missing cells: test_images.py, test_text.py
def field(request: pytest.FixtureRequest) -> tuple[Field, np.ndarray]:
    return made(request.param)


def test_lower_undoes_lift(field: tuple[Field, np.ndarray]) -> None:
    f, v = field
    low, width = f.lift(v)
    for share in (0.001, 0.5, 0.999):
        assert np.array_equal(f.lower(low + share * width), v, equal_nan=v.dtype.kind == "f")


def test_lifted_data_are_uniform(field: tuple[Field, np.ndarray]) -> None:
    f, v = field
    low, width = f.lift(v)
    u = np.sort(low + width * np.random.default_rng(1).random(len(v)))
    gap = np.abs(u - (np.arange(len(u)) + 0.5) / len(u)).max()
    assert gap < 1.95 / math.sqrt(len(v))  # Kolmogorov's bound at one in a thousand


@pytest.mark.parametrize(("bins", "fine"), [(4, 1), (16, 4), (10_000, 1)])
def test_tokens_hold_the_marginal(field: tuple[Field, np.ndarray], bins: int, fine: int) -> None:
    f, v = field
    tokens = f.tokens(bins, fine)
    assert tokens.marginal.sum() == pytest.approx(1.0)
    token, inside, seen = f.encode(v, tokens)
    assert seen.all()
    assert np.allclose(np.log(tokens.marginal.reshape(-1)[token]) + inside, f.log_prob(v))
    back, _, _ = f.encode(f.decode(token, np.random.default_rng(2).random(len(v)), tokens), tokens)
    assert np.array_equal(back, token)


def test_masses_over_all_cells_sum_to_one(field: tuple[Field, np.ndarray]) -> None:
    """Seen cells, cells between them, both tails, missing: what log_prob gives adds up to at most one, nearly."""
    f, _ = field
    if isinstance(f, Category):
        cells = np.arange(-1, len(f.levels) + 1, dtype=np.int32)
    else:
        scale = 10.0 ** getattr(f, "decimals", 0)
        if f.right[-1] > 1e6:
            pytest.skip("too many cells to add up")
        grid = np.arange(np.ceil(f.left[1]) - 3e5, f.right[-1] + 3e5)
        grid = grid[(grid >= f.lowest - 0.25) & (grid <= f.highest + 0.25)]
        cells = np.concatenate([(grid + f.base) / scale, [np.nan]])
    total = np.exp(f.log_prob(cells) + f.steps(cells)).sum()
    assert total == pytest.approx(1.0, abs=4.5 / (f.rows + 4))
    assert total <= 1.0 + 1e-9


def test_large_integers_and_dates_lose_nothing() -> None:
    v = np.array([2**62, 2**62 + 1, 2**62 + 5] * 3, np.int64)
    f = Integer.learn("x", v)
    assert np.array_equal(f.lower(f.lift(v)[0]), v)


def test_never_minus_infinity(field: tuple[Field, np.ndarray]) -> None:
    f, v = field
    strange = f.none(1) if v.dtype.kind != "f" else np.array([1e12, -1e12, np.nan])
    strange = np.concatenate([strange, np.array([f.rows * 7], f.dtype)])
    assert np.isfinite(f.log_prob(strange)).all()
    assert np.isfinite(f.log_prob(v)).all()
    assert f.log_prob(strange).max() < f.log_prob(v).mean() + 30


def test_a_rescaled_column_shifts_by_log_c() -> None:
    v = np.round(np.random.default_rng(3).normal(size=500), 2)
    a, b = Real.learn("x", v, 2), Real.learn("x", v * 10, 1)
    assert np.allclose(a.log_prob(v) - b.log_prob(v * 10), math.log(10.0))


def test_conditions_cut_tokens_exactly() -> None:
    v = np.random.default_rng(4).integers(0, 1000, 5000)
    f = Count.learn("x", v)
    tokens = f.tokens(16, 4)
    cut = f.allow(tokens, Allowed(intervals=((100, 300),)))
    assert cut.mass.sum() == pytest.approx(((v >= 100) & (v <= 300)).mean(), abs=0.01)
    drawn = f.decode(np.random.default_rng(5).choice(cut.token, 4000), np.random.default_rng(6).random(4000), cut)
    assert drawn.min() >= 100
    assert drawn.max() <= 300


def test_a_condition_outside_what_was_seen() -> None:
    f = Count.learn("age", np.arange(17, 91))
    with pytest.raises(SpecError, match=r"'age' holds no value that was seen: values lay in \[17, 90\]"):
        f.allow(f.tokens(16), Allowed(intervals=((200, 300),)))


def test_infinite_values_are_refused() -> None:
    with pytest.raises(SpecError, match="infinite"):
        Real.learn("x", np.array([1.0, np.inf]))


def test_supports_end_the_tails() -> None:
    f = Bounded.learn("x", np.round(np.random.default_rng(7).random(400) * 0.8 + 0.1, 2), 2, low=0.0, high=1.0)
    below = np.arange(0, 10) / 100
    assert np.exp(f.log_prob(below) + f.steps(below)).sum() <= 4 * f.epsilon


def test_fields_come_back_from_plain_values(field: tuple[Field, np.ndarray]) -> None:
    f, v = field
    again = from_meta(f.meta(), np.stack([f.left, f.right, f.mass]))
    assert type(again) is type(f)
    assert np.array_equal(again.log_prob(v), f.log_prob(v))


def test_a_kind_that_does_not_exist() -> None:
    with pytest.raises(SpecError, match="expected a field of a kind in real"):
        from_meta({"kind": "colour"}, np.zeros((3, 0)))


def test_ordinal_keeps_its_order() -> None:
    f = Ordinal.learn("size", np.array([0, 1, 2, 2, 2], np.int32), ("S", "M", "L"))
    assert np.array_equal(f.lower(np.array([0.1, 0.3, 0.9])), [0, 1, 2])


def test_all_missing() -> None:
    f = Real.learn("x", np.full(5, np.nan), 0)
    assert np.isnan(f.lower(np.array([0.1, 0.9]))).all()
    assert np.isfinite(f.log_prob(np.array([np.nan, 3.0]))).all()
