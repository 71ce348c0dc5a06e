"""Symbols come back exactly, at the length that their laws say."""

import numpy as np
import pytest

from pofx.ans import PRECISION, Stack, finder, frequencies, push_symbols

RNG = np.random.default_rng(0)


def test_frequencies_tile_the_whole_and_leave_nobody_out() -> None:
    mass = RNG.dirichlet(np.full(300, 0.02), 50)
    rising = frequencies(mass)
    assert (np.diff(rising) >= 1).all() and (rising[:, 0] == 0).all() and (rising[:, -1] == 1 << PRECISION).all()
    share = np.diff(rising) / (1 << PRECISION)
    assert np.abs(share - mass).max() < 301 / (1 << PRECISION) + 1e-9


@pytest.mark.parametrize("lanes", [1, 7])
def test_symbols_come_back_in_the_opposite_order_at_the_cost_of_their_entropy(lanes: int) -> None:
    mass = RNG.dirichlet(np.full(20, 0.5), (400, lanes))
    rising = [frequencies(m) for m in mass]
    symbols = np.array([[RNG.choice(20, p=mass[t, i]) for i in range(lanes)] for t in range(400)])
    stack = Stack(lanes, seed=1, words=10)
    before = stack.to_array().copy()
    for symbol, law in zip(symbols, rising, strict=True):
        push_symbols(stack, symbol, law)
    ideal = -np.log2(np.take_along_axis(mass, symbols[..., None], 2)).sum()
    spent = 32 * (len(stack.to_array()) - len(before))
    assert abs(spent - ideal) < 0.01 * ideal + 32 * lanes
    again = Stack.from_array(stack.to_array(), lanes)
    for symbol, law in zip(symbols[::-1], rising[::-1], strict=True):
        assert np.array_equal(again.pop(lanes, finder(law)), symbol)
    assert np.array_equal(again.to_array(), before)


def test_what_is_popped_follows_the_law_and_its_bits_come_back() -> None:
    law = frequencies(np.tile([0.7, 0.2, 0.1], (2000, 1)))
    stack = Stack(2000, seed=3, words=5000)
    before = stack.to_array().copy()
    drawn = stack.pop(2000, finder(law))
    assert np.bincount(drawn) / 2000 == pytest.approx([0.7, 0.2, 0.1], abs=0.04)
    push_symbols(stack, drawn, law)
    assert np.array_equal(stack.to_array(), before)


def test_fewer_symbols_than_lanes_leave_the_other_lanes_alone() -> None:
    stack = Stack(5)
    rest = stack.heads[3:].copy()
    push_symbols(stack, np.array([0, 1, 1]), frequencies(np.tile([0.5, 0.5], (3, 1))))
    assert np.array_equal(stack.heads[3:], rest)


def test_an_empty_stack_says_so() -> None:
    stack = Stack(1)

    def drain() -> None:
        for _ in range(100):
            stack.pop(1, finder(frequencies(np.array([[0.5, 0.5]]))))

    with pytest.raises(ValueError, match="no bits left"):
        drain()
