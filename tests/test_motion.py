"""Motion of made pictures is what it was made to be; what hides is not trusted."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pofx.errors import SpecError
from pofx.nn.motion import confident, grey, motion, warp, warping_error

HEIGHT, WIDTH = 90, 120
Y, X = torch.meshgrid(torch.arange(HEIGHT) * 1.0, torch.arange(WIDTH) * 1.0, indexing="ij")


def picture(x: Tensor, y: Tensor) -> Tensor:
    """A smooth picture at any place, (1, 1, H, W)."""
    waves = torch.sin(x / 5 + y / 9) + torch.sin(y / 6 - x / 13) + torch.cos(x / 17) * torch.cos(y / 11)
    return (0.5 + waves / 8)[None, None]


def moved(where: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """A picture, it with p brought to where(p), and the flow between them: where is affine and so inverted exactly."""
    x, y = where(X, Y)
    zero, one = torch.zeros(()), torch.ones(())
    base = torch.stack(where(zero, zero))
    columns = [torch.stack(where(*unit)) - base for unit in ((one, zero), (zero, one))]
    back = torch.linalg.inv(torch.stack(columns, 1))
    u, v = back[:, 0, None, None] * (X - base[0]) + back[:, 1, None, None] * (Y - base[1])
    return picture(X, Y), picture(u, v), torch.stack([x - X, y - Y])[None]


def turned(degrees: float, zoom: float) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    angle = torch.deg2rad(torch.tensor(degrees))
    cos, sin, cx, cy = zoom * angle.cos(), zoom * angle.sin(), WIDTH / 2, HEIGHT / 2
    return lambda x, y: (cx + cos * (x - cx) - sin * (y - cy), cy + sin * (x - cx) + cos * (y - cy))


def far(flow: Tensor, wanted: Tensor) -> float:
    """Mean length of the error, away from the edge."""
    return float((flow - wanted).square().sum(1).sqrt()[..., 12:-12, 12:-12].mean())


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.5, -0.25), (0.3, 1.7), (-4.4, 3.1), (9.6, -7.2)])
def test_shifts_are_found_below_a_tenth_of_a_pixel(shift: tuple[float, float]) -> None:
    here, there, wanted = moved(lambda x, y: (x + shift[0], y + shift[1]))
    flow = motion(here, there)
    assert flow.shape == (1, 2, HEIGHT, WIDTH)
    assert far(flow, wanted) < 0.1
    assert (warp(there, flow) - here)[..., 12:-12, 12:-12].abs().mean() < 0.004


@pytest.mark.parametrize(("degrees", "zoom"), [(2.0, 1.0), (-3.0, 1.0), (0.0, 1.04), (1.5, 0.97)])
def test_turns_and_zooms_are_found(degrees: float, zoom: float) -> None:
    here, there, wanted = moved(turned(degrees, zoom))
    assert far(motion(here, there), wanted) < 0.3


def test_a_batch_is_its_pairs() -> None:
    pairs = [moved(lambda x, y, k=k: (x + k, y - k))[:2] for k in (0.5, 1.5)]
    both = motion(*(torch.cat(side) for side in zip(*pairs, strict=True)))
    assert torch.allclose(both, torch.cat([motion(*pair) for pair in pairs]), atol=1e-4)


def test_noise_does_not_carry_flow_away_and_flat_pictures_do_not_move() -> None:
    here, there, wanted = moved(lambda x, y: (x + 1.4, y - 0.6))
    noise = torch.randn(2, *here.shape[1:], generator=torch.Generator().manual_seed(0)) / 40
    assert far(motion(here + noise[:1], there + noise[1:]), wanted) < 0.3
    for size in ((HEIGHT, WIDTH), (9, 33), (2, 2), (1, 1)):
        assert motion(torch.full((1, 1, *size), 0.5), torch.full((1, 1, *size), 0.5)).abs().max() == 0


def test_warp_reads_between_pixels_and_repeats_the_border() -> None:
    ramp = X[None, None]
    by = torch.zeros(1, 2, HEIGHT, WIDTH)
    by[:, 0] = 0.25
    read = warp(ramp, by)
    assert torch.allclose(read[..., :-1], ramp[..., :-1] + 0.25, atol=1e-4)
    assert torch.allclose(read[..., -1], ramp[..., -1], atol=1e-4)


def test_what_is_hidden_is_not_trusted() -> None:
    """A square that moves by 6 pixels hides what lies before it, and shows what lay behind."""
    square = (X - 60).abs().maximum((Y - 45).abs()) < 15
    later = (X - 66).abs().maximum((Y - 45).abs()) < 15
    inner = 1 - picture(X / 1.7, Y / 1.3)
    shifted = 1 - picture((X - 6) / 1.7, Y / 1.3)
    here, there = torch.where(square, inner, picture(X, Y)), torch.where(later, shifted, picture(X, Y))
    trusted = confident(motion(here, there), motion(there, here))[0, 0]
    hidden = later & ~square
    hidden &= Y.sub(45).abs() < 12
    seen = (X - 60).abs().maximum((Y - 45).abs()) > 35
    assert trusted[hidden].float().mean() < 0.5
    assert trusted[seen & (X > 12) & (X < WIDTH - 12)].float().mean() > 0.95


def test_the_warping_error_sees_flicker_and_not_motion() -> None:
    frames = torch.cat([picture(X - 1.3 * t, Y + 0.4 * t) for t in range(4)]).expand(-1, 3, -1, -1)
    still = warping_error(frames)
    noise = torch.randn(frames.shape, generator=torch.Generator().manual_seed(0)) / 30
    assert still < 1e-4
    assert 0.5 / 900 < warping_error(frames + noise) < 2 / 900
    with pytest.raises(SpecError, match="at least 2 frames, got 1"):
        warping_error(frames[:1])


def test_shapes_are_checked() -> None:
    with pytest.raises(SpecError, match=r"two greys \(B, 1, H, W\) of one shape"):
        motion(torch.zeros(1, 1, 30, 30), torch.zeros(1, 1, 30, 31))
    with pytest.raises(SpecError, match=r"frames \(B, 1 or 3, H, W\), got \(1, 2, 3, 3\)"):
        grey(torch.zeros(1, 2, 3, 3))
