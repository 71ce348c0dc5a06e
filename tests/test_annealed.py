"""log p from below and above by annealing, against probabilistic PCA, whose log p is known, and models' own rows."""

import numpy as np
import pytest
import torch
from test_autoencoders import images, learn, two_factors
from test_importance import P, Q
from torch import Tensor

from pofx.errors import SpecError, Unsupported
from pofx.models import create
from pofx.models.annealed import Bridge, annealed, move, sandwich, temperatures
from pofx.models.model import Model
from pofx.nn.latents import Ladder, Single
from pofx.nn.posteriors import IAF, Diagonal
from pofx.nn.priors import StandardNormal
from pofx.objectives import normal_log_prob

CHAINS = 8


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def from_prior(z: Tensor) -> tuple[Tensor, Tensor]:
    return normal_log_prob(z), P.like(z)


def from_wrong(e: Tensor) -> tuple[Tensor, Tensor]:
    """From a posterior whose means and scales are wrong."""
    return normal_log_prob(e), P.log_w(P.told(wider=1.4, shift=0.3), e)


def both_sides(law, steps: int) -> tuple[Tensor, Tensor]:
    """(lower, upper) of rows of probabilistic PCA; its posterior, drawn exactly, stands for the codes of rows."""
    g = generator(1)
    shape = (CHAINS, len(P.x), Q)
    first, second, e = (torch.randn(shape, generator=g, dtype=torch.float64) for _ in range(3))
    z = P.mean + P.scale * e
    last = z if law is from_prior else Diagonal(Q).back(P.told(wider=1.4, shift=0.3), z)[0]
    bridge = Bridge(law, first, steps, g)
    return bridge.up(second), bridge.down(last)


@pytest.mark.parametrize("law", [from_prior, from_wrong])
def test_exact_log_p_lies_between_both_sides_which_meet(law) -> None:
    gaps = []
    for steps in (5, 150):
        lower, upper = both_sides(law, steps)
        below, above = P.exact - lower, upper - P.exact
        for side in (below, above):
            assert side.mean() > -3 * side.std() / len(side) ** 0.5
        gaps.append(float((upper - lower).mean()))
    assert gaps[0] > 3 * gaps[1] and gaps[0] > 0.3
    assert gaps[1] < (0.4 if law is from_prior else 0.1)


def test_weights_have_the_mean_p_and_their_inverse_one_over_p_however_few_steps() -> None:
    """E w = p(x) and E 1/w = 1/p(x) of one row, many chains: what a wrong sign or Jacobian cannot keep."""
    g, many = generator(3), 20_000
    row = slice(4, 5)
    told = P.told(wider=1.2, shift=0.1)[row]

    def law(e: Tensor) -> tuple[Tensor, Tensor]:
        _, code, excess = Single(StandardNormal(Q), Diagonal(Q)).infer(told, e)
        off = (P.x[row] - code @ P.w.T) / 0.4
        like = -0.5 * off.square().sum(-1) - 20 * (np.log(0.4) + 0.5 * np.log(2 * np.pi))
        return normal_log_prob(e), like - excess

    draw = [torch.randn(many, 1, Q, generator=g, dtype=torch.float64) for _ in range(3)]
    last = Diagonal(Q).back(told, P.mean[row] + P.scale * draw[2])[0]
    bridge = Bridge(law, draw[0][:50], 3, g)
    torch.testing.assert_close(bridge.up(draw[1]), P.exact[row], atol=0.03, rtol=0)
    torch.testing.assert_close(bridge.down(last), P.exact[row], atol=0.03, rtol=0)


def test_one_temperature_is_importance_sampling() -> None:
    e = torch.randn(5, len(P.x), Q, generator=generator(), dtype=torch.float64)
    bridge = Bridge(from_wrong, e, 1, generator())
    wanted = torch.logsumexp(from_wrong(e)[1], 0) - np.log(5)
    torch.testing.assert_close(bridge.up(e), wanted)
    t = temperatures(10)
    assert t[0] == 0 and t[-1] == 1 and (t.diff() > 0).all()


def test_moves_leave_their_law_as_it_is() -> None:
    """From draws of f_t, of a Gaussian of known scale, moves keep the scale and are mostly taken."""

    def law(y: Tensor) -> tuple[Tensor, Tensor]:
        return normal_log_prob(y), -1.5 * y.square().sum(-1)

    t = 0.5  # f_t = N(0, 1 / (1 + 3 t))
    scale = (1 + 3 * t) ** -0.5
    g = generator()
    y = scale * torch.randn(4000, 1, 2, generator=g, dtype=torch.float64)
    for _ in range(10):
        y, chance = move(law, y, t, torch.tensor([0.5]).double(), g)
    assert y.std().item() == pytest.approx(scale, rel=0.03) and abs(y.mean().item()) < 0.03
    assert 0.6 < chance.mean() < 1
    far, chance = move(law, y, t, torch.tensor([50.0]).double(), g)
    assert chance.max() < 0.5 and (far == y).all(-1).double().mean() > 0.9


@pytest.mark.parametrize("law", ["diagonal", "iaf", "ladder"])
def test_the_way_back_finds_noise_and_density(law: str) -> None:
    torch.manual_seed(0)
    made = {
        "diagonal": lambda: Single(StandardNormal(3), Diagonal(3)),
        "iaf": lambda: Single(StandardNormal(3), IAF(3, 3, hidden=(8,))),
        "ladder": lambda: Ladder(1, 3, 6, 1),
    }[law]().double()
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.1 * torch.randn_like(p))
        told, noise = 0.3 * torch.randn(4, made.size).double(), torch.randn(5, 4, 3).double()
        z, _, excess = made.infer(told, noise)
        back, log_q = made.back(told, z)
        torch.testing.assert_close(back, noise)
        torch.testing.assert_close(log_q - made.log_prob(z), excess)


# -- models ------------------------------------------------------------------------------------------------------------


def fitted(name: str, pixels: bool, **words: object) -> Model:
    x, spec = images(150, 6) if pixels else two_factors(400)
    small = {"latent": 2, "width": 16, "depth": 1, "components": 2}
    return learn(create(name, spec, **(small | words)), x, 60, rate=1e-2)


@pytest.mark.parametrize(
    ("name", "words"),
    [("vae", {}), ("vae", {"prior": "mixture"}), ("iwae", {"posterior": "iaf", "prior": "normal"}), ("hvae", {})],
)
def test_both_sides_of_a_models_rows_meet_and_the_bound_by_importance_is_below(name: str, words: dict) -> None:
    model = fitted(name, pixels=False, **words)
    for start in ("posterior", "prior"):
        found = sandwich(model, 16, steps=40, chains=2, draws=200, start=start)
        assert 0.3 < found.taken < 1
        assert found.lower.mean() < found.upper.mean() + 0.05 and abs(found.gap) < 0.5
        short = found.upper - found.importance.value
        assert short.mean() > -3 * short.std() / 4 - 0.02
        assert abs(found.importance.value.mean() - found.lower.mean()) < 0.4
    said = str(found)
    assert "rows that the model drew" in said and "importance (200 draws)" in said
    assert found.figures()["gap"]["mean"] == pytest.approx(found.gap)


def test_images_and_data_are_annealed_and_grey_pixels_refused() -> None:
    model = fitted("vae", pixels=True)
    assert abs(sandwich(model, 6, steps=30, chains=2).gap) < 2
    x, _ = images(6, 6, seed=2)
    bound, lower = model.bound(x, draws=200).value, annealed(model, x, steps=30, chains=2)
    assert np.abs(bound - lower).mean() < 2
    ink = fitted("vae", pixels=True, binarise=True)
    with pytest.raises(SpecError, match="expected black and white pixels, got grey ones"):
        annealed(ink, x)
    assert np.isfinite(sandwich(ink, 4, steps=10).gap)


def test_what_cannot_be_annealed_says_so() -> None:
    _, spec = two_factors(50)
    with pytest.raises(Unsupported, match="model 'wae' has no law of codes to anneal: these have: vae, iwae, hvae"):
        sandwich(create("wae", spec))
    with pytest.raises(SpecError, match="expected start among posterior, prior, got 'data'"):
        sandwich(create("vae", spec), start="data")
    with pytest.raises(SpecError, match="expected at least one step and one chain, got 0 and 4"):
        sandwich(create("vae", spec), steps=0)
    with pytest.raises(SpecError, match="expected at least one row, got 0"):
        sandwich(create("vae", spec), 0)
