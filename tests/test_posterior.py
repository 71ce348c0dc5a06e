"""x given y = A(x) + noise: the posterior of a linear decoder, known in closed form, shares of modes, and the verbs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import pofx
from pofx import corrupt
from pofx.cli import main
from pofx.errors import CodecError, SpecError, Unsupported
from pofx.fields import Pixel
from pofx.models import create, load_class, names
from pofx.models.lifted import Conditioned
from pofx.models.model import Batch
from pofx.posterior import Blurred, Hidden, Noisy, Operator, Shrunk, restored
from pofx.spec import Block, Spec

SIDE, LATENT, SIGMA = 6, 4, 0.03
MASK = torch.zeros(SIDE, SIDE, dtype=torch.bool)
MASK[3:] = True


def spec() -> Spec:
    v = np.random.default_rng(0).integers(0, 256, (20, SIDE, SIDE)).astype(np.uint8)
    return Spec((Block("image", (Pixel.learn("grey", v, top=255),), (SIDE, SIDE)),))


class Decoder(Conditioned):
    """m(e) = f(W e + b), in float64."""

    abilities = frozenset({"posterior"})
    code_size = LATENT
    name = "decoder"

    def __init__(self, squared: bool = False) -> None:
        super().__init__(spec())
        generator = torch.Generator().manual_seed(0)
        how = {"generator": generator, "dtype": torch.float64}
        self.weight = torch.nn.Parameter(0.05 * torch.randn(SIDE * SIDE, LATENT, **how))
        self.squared = squared

    def picture(self, e: Tensor, c: Batch) -> Tensor:
        x = 0.5 + e @ self.weight.T
        if self.squared:
            known = 0.5 + torch.cat([e[:, :1].square(), e[:, 1:]], 1) @ self.weight.T
            x = torch.where(MASK.flatten(), x, known)
        return x.view(-1, 1, SIDE, SIDE)


def observed(model: Decoder, operator: Operator, n: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    e = torch.randn(n, LATENT, generator=generator, dtype=torch.float64)
    x = model.picture(e, ())
    y = operator.apply(x)
    return e, y + SIGMA * torch.randn(y.shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("operator", [Hidden(MASK), Noisy(), Blurred(0.7), Shrunk(2)], ids=lambda a: type(a).__name__)
def test_draws_of_a_linear_decoder_are_of_the_posterior_in_closed_form(operator: Operator) -> None:
    model = Decoder()
    with torch.no_grad():
        _, y = observed(model, operator)
        zero = operator.apply(model.picture(torch.zeros(1, LATENT, dtype=torch.float64), ())).flatten()
        a = torch.stack(
            [operator.apply(model.picture(e[None], ())).flatten() - zero for e in torch.eye(LATENT).double()], 1
        )
        cover = torch.linalg.inv(a.T @ a / SIGMA**2 + torch.eye(LATENT).double())
        seen = operator.apply(y) if isinstance(operator, Hidden) else y
        mean = (seen.flatten(1) - zero) @ a @ cover / SIGMA**2
        made = model.picture(mean, ()).flatten(1)
        spread = (model.weight @ cover @ model.weight.T).diagonal().sqrt()
    k = 500
    found = restored(model, y, operator, SIGMA, k, slack=False, chains=3, steps=6, seed=2)
    x = found.draws.flatten(2)
    assert ((x.mean(0) - made).abs() < 5 * spread / k**0.5 + 1e-5).all()
    assert ((x.std(0) / spread - 1).abs() < 5 / (2 * k) ** 0.5).all()
    assert torch.allclose(found.log_weight, found.log_weight[:1].expand(3, -1), atol=1e-6)


def test_two_modes_have_the_shares_that_they_are_worth_however_many_chains_find_each() -> None:
    """The known half is made of e_0^2 and the hidden one of e_0: two modes of one weight, found by an odd number."""
    model = Decoder(squared=True)
    with torch.no_grad():
        y = model.picture(torch.tensor([[1.5, 0.3, -0.2, 0.1]]).double(), ())
    for seed in (0, 1):
        found = restored(model, y, Hidden(MASK), SIGMA, 100, slack=False, chains=9, seed=seed)
        side = (found.draws[:, 0, 0, MASK] - 0.5) @ model.weight.detach()[MASK.flatten(), 0]
        assert float((side > 0).double().mean()) == pytest.approx(0.5, abs=0.02)


def test_what_the_decoder_leaves_over_is_found_and_known_pixels_come_back_as_they_came() -> None:
    model, generator = Decoder(), torch.Generator().manual_seed(3)
    with torch.no_grad():
        y = observed(model, Noisy(), 200)[1].clamp(0, 1)
    found = restored(model, y, Hidden(MASK), 0.0, 2, seed=0)
    known = ~MASK.expand(2, 200, 1, SIDE, SIDE)
    assert torch.allclose(found.draws[known], y.expand(2, -1, -1, -1, -1)[known], atol=1e-12)
    assert float(found.deviation.square().mean().sqrt()) == pytest.approx(SIGMA, rel=0.1)
    assert not torch.allclose(found.draws[0, :, :, MASK], found.draws[1, :, :, MASK], atol=0.01)
    w = y + 0.1 * torch.randn(y.shape, generator=generator, dtype=torch.float64)
    noisy = restored(model, w, Noisy(), 0.1, 8, seed=0)
    assert float(noisy.deviation.square().mean()) == pytest.approx(SIGMA**2 + 0.01, rel=0.1)
    assert float((noisy.mean - y).square().mean()) < 0.5 * float((w.clamp(0, 1) - y).square().mean())


def test_a_residual_of_few_pixels_tells_less_than_one_of_all() -> None:
    """The same squared error, spread or on two pixels: draws differ more, and those of a spread one as 1 / s does."""
    model = Decoder()
    with torch.no_grad():
        x = observed(model, Noisy(), 1)[1] * 0 + model.picture(torch.zeros(1, LATENT).double(), ())
    sign = torch.ones(SIDE * SIDE, dtype=torch.float64)
    sign[::2] = -1
    spread, few = 0.05 * sign.view(1, 1, SIDE, SIDE), torch.zeros(1, 1, SIDE, SIDE, dtype=torch.float64)
    few.view(-1)[[7, 28]] = 0.05 * (SIDE * SIDE / 2) ** 0.5
    both = [restored(model, (x + off).clamp(0, 1), Hidden(MASK), 0.0, 200, seed=0) for off in (spread, few)]
    wide = [float(found.draws[:, 0, 0, MASK].std(0).mean()) / float(found.deviation[0]) for found in both]
    assert wide[1] > 1.3 * wide[0]


def test_an_operator_of_many_pictures_is_that_of_each() -> None:
    generator = torch.Generator().manual_seed(0)
    x, mask = torch.rand(6, 1, SIDE, SIDE, generator=generator), torch.rand(3, SIDE, SIDE, generator=generator) < 0.5
    hidden = Hidden(mask)
    assert torch.equal(hidden.apply(x), x * ~mask.repeat(2, 1, 1).unsqueeze(1))
    assert torch.equal(hidden.some(slice(1, 2)).apply(x[1:2]), hidden.apply(x[:3])[1:2])
    assert hidden.seen(x[:3]).tolist() == (~mask).flatten(1).sum(1).tolist()
    assert torch.equal(Shrunk(2).apply(x), corrupt.downsample(x, 2))
    leaf = x.clone().requires_grad_(True)
    for operator in (hidden, Noisy(), Blurred(1.0), Shrunk(2)):
        assert torch.autograd.grad(operator.apply(leaf).sum(), leaf)[0].shape == x.shape


@pytest.mark.parametrize(
    "words",
    [{"prior": "realnvp"}, {"prior": "normal"}, {"name": "hvae", "levels": 2}, {"name": "wae"}, {"name": "gan"}],
)
def test_noise_and_pictures_of_models_are_those_of_their_draws(words: dict) -> None:
    """`picture` of noise is the picture that `decode` or `express` makes of it, and `noise_of` undoes `code_of`."""
    words = {"name": "vae"} | words
    model = create(words.pop("name"), spec(), latent=3, width=8, **words).eval()
    e = torch.randn(5, model.code_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        m = model.picture(e, model.see_condition(None, 5))
        code = model.code_of(e, e.new_zeros(len(e), 0)) if hasattr(model, "code_of") else e
        assert m.shape == (5, 1, SIDE, SIDE) and float(m.min()) >= 0 and float(m.max()) <= 1
        shades = (m[:, 0] * 255).round().numpy()
        assert np.abs(shades - model.express(code, None)["grey"].astype(float)).max() <= 1
        x = {"grey": shades.astype(np.uint8)}
        told = model.noise_of(x)
        if told is None:
            assert "encode" not in model.abilities
        else:
            near = model.code_of(told.to(e), e.new_zeros(len(e), 0))
            assert torch.allclose(near, model.encode(x).to(e), atol=1e-4)


def test_what_cannot_be_done_says_so() -> None:
    able = [name for name in names() if "posterior" in load_class(name).abilities]
    assert able == ["aae", "hvae", "iwae", "vae", "wae", "gan", "wgan"]
    y = torch.zeros(1, 1, SIDE, SIDE)
    with pytest.raises(Unsupported, match=r"'autoencoder' cannot find the images .* may have been: these can: aae,"):
        restored(create("autoencoder", spec(), latent=2), y, Noisy(), 0.1)
    with pytest.raises(Unsupported, match="with a prior of components: fit it with prior='realnvp' or 'normal'"):
        restored(create("vae", spec(), prior="mixture", latent=2, width=8), y, Noisy(), 0.1)
    model = create("vae", spec(), latent=2, width=8)
    for words, told in (
        ({"sigma": -1.0}, "expected a sigma of 0 or more"),
        ({"sigma": 0.0, "slack": False}, "above 0 without slack, got 0.0"),
        ({"draws": 0}, "expected draws of at least 1, got 0"),
    ):
        with pytest.raises(SpecError, match=told):
            restored(model, y, Noisy(), **words)
    with pytest.raises(SpecError, match="expected images to restore, got none"):
        restored(model, y[:0], Noisy(), 0.1)


# -- the verbs ---------------------------------------------------------------------------------------------------------


def bars(n: int = 120) -> np.ndarray:
    """Images of 8 x 8: a dark ground, and the left or the right half bright, from above to below."""
    rng = np.random.default_rng(0)
    v = np.full((n, 8, 8), 20.0)
    v += np.where((np.arange(8) < 4) == rng.integers(0, 2, (n, 1)), rng.uniform(100, 220, (n, 1)), 0)[:, None]
    return v.round().astype(np.uint8)


@pytest.fixture(scope="module")
def fitted() -> pofx.Fitted:
    words = {"latent": 2, "width": 32, "depth": 1, "likelihood": "normal", "quiet": True}
    return pofx.fit(bars(), model="wae", steps=150, guard=False, **words)


def test_a_model_of_images_completes_cleans_and_enlarges(fitted: pofx.Fitted) -> None:
    x, rng = bars()[:6], np.random.default_rng(1)
    spoiled = np.where(np.arange(8)[:, None] >= 4, rng.integers(0, 256, x.shape), x).astype(np.uint8)
    full = fitted.complete(spoiled, hidden="lower", quiet=True)
    assert full.dtype == np.uint8 and np.array_equal(full[:, :4], x[:, :4])
    assert np.abs(full.astype(float) - x)[:, 4:].mean() < 0.6 * np.abs(x - x.mean(0)).mean()
    mask = np.zeros((6, 8, 8), bool)
    mask[:, 4:] = True
    assert np.array_equal(fitted.complete(x, hidden=mask, quiet=True), full)
    many = fitted.complete(x, hidden=mask[0], draws=3, seed=5, quiet=True)
    assert many.shape == (18, 8, 8) and np.array_equal(many[:, :4], np.tile(x, (3, 1, 1))[:, :4])
    assert np.array_equal(many, fitted.complete(x, hidden=mask[0], draws=3, seed=5, quiet=True))
    noisy = np.clip(x + rng.normal(0, 50, x.shape), 0, 255).round().astype(np.uint8)
    clean = fitted.denoise(noisy, sigma=50, quiet=True)
    assert ((clean.astype(float) - x) ** 2).mean() < 0.6 * ((noisy.astype(float) - x) ** 2).mean()
    small = (corrupt.downsample(torch.from_numpy(x[:, None]).double(), 2).clamp(0, 255).round()).numpy()[:, 0]
    large = fitted.upscale(small.astype(np.uint8), scale=2, quiet=True)
    bicubic = corrupt.upsample(torch.from_numpy(small[:, None]), 2).numpy()[:, 0]
    assert ((large.astype(float) - x) ** 2).mean() < 0.6 * ((bicubic - x) ** 2).mean()


def test_what_does_not_fit_is_refused_in_one_line(fitted: pofx.Fitted, tmp_path: Path) -> None:
    x = bars()[:2]
    none = np.zeros((8, 8), bool)
    for call, error, told in (
        (lambda: fitted.complete(x, hidden=none[:4]), CodecError, r"a mask of \(8, 8\) or \(2, 8, 8\), got \(4, 8\)"),
        (lambda: fitted.complete(x, hidden=none.astype(int)), CodecError, "expected a mask of truth values"),
        (lambda: fitted.complete(x, hidden=~none), SpecError, "got a mask that hides all: use sample"),
        (lambda: fitted.complete(x, hidden="middle"), SpecError, "expected hidden among lower, upper, left, right"),
        (lambda: fitted.complete(x, hidden="lower", draws=0), SpecError, "expected draws of at least 1, got 0"),
        (lambda: fitted.complete(x[:0], hidden="lower"), SpecError, "expected images to restore, got none"),
        (lambda: fitted.complete(x[:, :4], hidden="lower"), CodecError, r"expected images of \(8, 8, 1\)"),
        (lambda: fitted.denoise(x, sigma=-1), SpecError, "expected a sigma above 0, .* got -1"),
        (lambda: fitted.denoise(x), SpecError, "expected a sigma above 0, .* got None"),
        (lambda: fitted.upscale(x, scale=2), CodecError, r"of \(4, 4, 1\) .*, 2 times smaller .* got \(8, 8, 1"),
        (lambda: fitted.upscale(x, scale=3), SpecError, "expected a scale of 2 or more that divides 8 and 8, got 3"),
    ):  # fmt: skip
        with pytest.raises(error, match=told) as found:
            call()
        assert "\n" not in str(found.value)
    other = pofx.fit(bars(), model="denoising", steps=2, width=8, depth=1, guard=False, quiet=True)
    assert other.denoise(x).shape == x.shape
    with pytest.raises(Unsupported, match="'denoising' cannot find the images .* these can: aae, hvae"):
        other.denoise(x, sigma=20)
    with pytest.raises(Unsupported, match="'denoising' cannot find the images"):
        other.complete(x, hidden="lower")
    Image.fromarray(np.full((8, 8), 255, np.uint8)).save(tmp_path / "all.png")
    with pytest.raises(SpecError, match="a mask that hides all"):
        fitted.complete(x, hidden=tmp_path / "all.png")


def test_missing_labels_are_told_by_what_is_known() -> None:
    x = bars()
    labels = (x[:, 0, 0] > 50).astype(int)
    words = {"latent": 1, "width": 32, "depth": 1, "likelihood": "normal", "quiet": True, "guard": False}
    model = pofx.fit((x, labels), model="wae", steps=100, **words)
    made = model.complete(x[:8], hidden="lower", quiet=True)
    assert (made.labels == labels[:8]).mean() >= 0.75
    kept = model.complete((x[:8], 1 - labels[:8]), hidden="lower", draws=2, quiet=True)
    assert np.array_equal(kept.labels, np.tile(1 - labels[:8], 2))


def test_the_command_line_completes_cleans_and_enlarges(fitted: pofx.Fitted, tmp_path: Path) -> None:
    model, at = tmp_path / "m.pofx", str(tmp_path / "x.npz")
    fitted.save(model)
    np.savez(at, images=bars()[:3])
    np.savez(tmp_path / "small.npz", images=bars()[:3, ::2, ::2])
    mask = np.zeros((8, 8), np.uint8)
    mask[:, :3] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    for words, count in (
        (["complete", str(model), at, "--hidden", "upper", "--draws", "2"], 6),
        (["denoise", str(model), at, "--sigma", "25"], 3),
        (["upscale", str(model), str(tmp_path / "small.npz"), "--scale", "2", "--draws", "1"], 3),
    ):
        assert main([*words, "-o", str(tmp_path / "out.npz"), "--quiet"]) == 0
        assert np.load(tmp_path / "out.npz")["images"].shape == (count, 8, 8)
    kept = np.load(tmp_path / "x.npz")["images"]
    assert (
        main(
            [
                "complete",
                str(model),
                at,
                "--hidden",
                str(tmp_path / "mask.png"),
                "-o",
                str(tmp_path / "o.npy"),
                "--quiet",
            ]
        )
        == 0
    )
    assert np.array_equal(np.load(tmp_path / "o.npy")[:, :, 3:], kept[:, :, 3:])


def test_the_command_line_refuses_the_words_of_images_for_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    golden = str(next((Path(__file__).parent / "golden").glob("*.pofx")))
    for words, told in (
        (["complete", golden, "x.csv", "--hidden", "lower"], "expected no --hidden for complete by a model of table"),
        (["denoise", golden, "x.csv", "--sigma", "3"], "expected no --sigma for denoise by a model of table"),
        (["upscale", golden, "x.csv"], "expected a model of images for upscale, got one of a table"),
    ):
        assert main([*words, "-o", str(tmp_path / "o.csv")]) == 2
        assert told in capsys.readouterr().err
