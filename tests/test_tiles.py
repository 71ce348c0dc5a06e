"""Tiles: what is done piece by piece is what would be done of the whole."""

import itertools
from typing import Any

import numpy as np
import pytest

from pofx.errors import Failed
from pofx.tiles import Axis, tiled


def box(reach: int, scale: int, mode: str = "edge") -> Any:
    """The mean of each pixel's surroundings, enlarged."""

    def change(part: np.ndarray, row: int, column: int) -> np.ndarray:
        wide = np.pad(part.astype(np.float32), ((reach, reach), (reach, reach), (0, 0)), mode=mode)
        side, (height, width) = 2 * reach + 1, part.shape[:2]
        total = sum(wide[i : i + height, j : j + width] for i in range(side) for j in range(side))
        return (total / side**2).repeat(scale, 0).repeat(scale, 1)

    return change


def collected(change: Any, picture: np.ndarray, **words: Any) -> np.ndarray:
    """What comes out, whose strips follow one another."""
    held: list[np.ndarray] = []

    def out(row: int, rows: np.ndarray) -> None:
        assert row == sum(map(len, held))
        held.append(rows.copy())

    tiled(change, picture, out, **words)
    return np.concatenate(held)


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).random((height, width, 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("height", "width", "tile", "scale", "grid"), itertools.product((40, 57, 131), (33, 90), (32, 1000), (1, 3), (1, 8))
)
def test_tiles_are_the_whole(height: int, width: int, tile: int, scale: int, grid: int) -> None:
    own = picture(height, width)
    made = collected(box(3, scale), own, scale=scale, margin=3, grid=grid, tile=tile)
    np.testing.assert_allclose(made, box(3, scale)(own, 0, 0), atol=1e-5)


def test_a_picture_that_goes_on_at_its_other_side() -> None:
    own = picture(64, 96)
    made = collected(box(3, 1), own, margin=3, tile=40, wrap=True)
    np.testing.assert_allclose(made, box(3, 1, "wrap")(own, 0, 0), atol=1e-5)
    turned = collected(box(3, 1), np.roll(own, (9, 17), (0, 1)), margin=3, tile=40, wrap=True)
    np.testing.assert_allclose(turned, np.roll(made, (9, 17), (0, 1)), atol=1e-5)


def test_weights_sum_to_one() -> None:
    axis = Axis(217, 40, 5, 4, False)
    total = np.zeros(217 * 2)
    for k in range(len(axis)):
        low, high = axis.counts(k)
        total[2 * low : 2 * high] += axis.weight(k, 2)
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_a_tile_too_large_for_the_memory_is_cut_up_and_said() -> None:
    own, largest = picture(120, 100), []

    def change(part: np.ndarray, row: int, column: int) -> np.ndarray:
        if max(part.shape[:2]) > 62:
            raise MemoryError
        largest.append(max(part.shape[:2]))
        return box(2, 1)(part, row, column)

    with pytest.warns(UserWarning, match="is cut up"):
        made = collected(change, own, margin=2, tile=64)
    np.testing.assert_allclose(made, box(2, 1)(own, 0, 0), atol=1e-5)
    assert max(largest) <= 62


def test_where_no_tile_is_small_enough_it_is_said() -> None:
    def never(part: np.ndarray, row: int, column: int) -> np.ndarray:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    with pytest.warns(UserWarning, match="is cut up"), pytest.raises(Failed, match="the memory does not suffice"):
        collected(never, picture(150, 150), margin=2, tile=200)


def test_other_errors_are_not_of_memory() -> None:
    def broken(part: np.ndarray, row: int, column: int) -> np.ndarray:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        collected(broken, picture(90, 90), tile=64)
