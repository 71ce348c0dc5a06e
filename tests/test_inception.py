"""FID and KID: the network of the protocol, weights of users, distances in closed form."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_images import SMALL, bars

import pofx
from pofx.cli import main
from pofx.errors import BadFile, SpecError, Unsupported
from pofx.metrics.prdc import frechet, kernel_distance
from pofx.nn.inception import Inception, load_inception, max_pool, mean_pool
from pofx.training.canonical import Canonical
from pofx.training.figures import Figure, Protocol

FIVE = {"1x1": (64, 1), "5x5_1": (48, 1), "5x5_2": (64, 25), "3x3dbl_1": (64, 1), "3x3dbl_2": (96, 9),
        "3x3dbl_3": (96, 9)}  # fmt: skip
SEVEN = {"1x1": (320, 1), "3x3_1": (384, 1), "3x3_2a": (384, 3), "3x3_2b": (384, 3), "3x3dbl_1": (448, 1),
         "3x3dbl_2": (384, 9), "3x3dbl_3a": (384, 3), "3x3dbl_3b": (384, 3), "_pool": (192, 1)}  # fmt: skip


def six(w: int) -> dict[str, tuple[int, int]]:
    inner = {"7x7_1": (w, 1), "7x7_2": (w, 7), "7x7_3": (192, 7), "7x7dbl_1": (w, 1)}
    inner |= {f"7x7dbl_{i}": (w, 7) for i in (2, 3, 4)} | {"7x7dbl_5": (192, 7)}
    return {"1x1": (192, 1), **inner, "_pool": (192, 1)}


MIXED = {
    "Mixed_5b": (192, FIVE | {"_pool": (32, 1)}), "Mixed_5c": (256, FIVE | {"_pool": (64, 1)}),
    "Mixed_5d": (288, FIVE | {"_pool": (64, 1)}),
    "Mixed_6a": (288, {"3x3": (384, 9), "3x3dbl_1": (64, 1), "3x3dbl_2": (96, 9), "3x3dbl_3": (96, 9)}),
    "Mixed_6b": (768, six(128)), "Mixed_6c": (768, six(160)), "Mixed_6d": (768, six(160)), "Mixed_6e": (768, six(192)),
    "Mixed_7a": (768, {"3x3_1": (192, 1), "3x3_2": (320, 9), "7x7x3_1": (192, 1), "7x7x3_2": (192, 7),
                       "7x7x3_3": (192, 7), "7x7x3_4": (192, 9)}),
    "Mixed_7b": (1280, SEVEN), "Mixed_7c": (2048, SEVEN),
}  # fmt: skip
STEM = {"1a_3x3": (3, 32, 9), "2a_3x3": (32, 32, 9), "2b_3x3": (32, 64, 9), "3b_1x1": (64, 80, 1),
        "4a_3x3": (80, 192, 9)}  # fmt: skip


def layout() -> Iterator[tuple[str, int, int]]:
    """(name, numbers of w, channels) of each convolution, from the tables of the paper."""
    for name, (inputs, outputs, kernel) in STEM.items():
        yield f"Conv2d_{name}", inputs * outputs * kernel, outputs
    for name, (inputs, branches) in MIXED.items():
        before = inputs
        for branch, (outputs, kernel) in branches.items():
            first = "_" not in branch or branch.endswith("_1") or branch == "_pool"
            before = inputs if first else before
            yield f"{name}.branch{branch}", before * outputs * kernel, outputs
            before = before if branch.endswith("a") else outputs


@pytest.fixture(scope="module")
def net() -> Inception:
    """Random weights, scaled so that numbers stay near one."""
    generator = torch.Generator().manual_seed(0)
    made = Inception()
    for name, v in made.state_dict().items():
        if name.endswith("conv.weight"):
            v.normal_(0, (2 / v[0].numel()) ** 0.5, generator=generator)
    return made


@pytest.fixture(scope="module")
def weights(net: Inception, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inception") / "inception.safetensors"
    beside = {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000), "AuxLogits.fc.bias": torch.zeros(9)}
    save_file(net.state_dict() | beside, path)
    return path


def test_names_and_numbers_are_those_of_the_layout(net: Inception) -> None:
    own = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    parts, told = ("weight", "bias", "running_mean", "running_var"), list(layout())
    assert len(told) == 94
    names = {f"{name}.conv.weight" for name, _, _ in told} | {f"{name}.bn.{p}" for name, _, _ in told for p in parts}
    assert set(own) == names
    for name, numbers, channels in told:
        assert own[f"{name}.conv.weight"].numel() == numbers and own[f"{name}.bn.running_var"].shape == (channels,)
    total = sum(v.numel() for v in net.parameters())
    assert total == sum(numbers + 2 * channels for _, numbers, channels in told) == 21_785_568
    assert total + 2048 * 1008 + 1008 == 23_850_960  # with the classifier of 2015


def test_features_of_any_size_are_those_of_the_resized_image(net: Inception) -> None:
    small = np.random.default_rng(0).integers(0, 256, (1, 1, 4, 6)).astype(np.uint8)
    seen: list[torch.Tensor] = []
    hook = net.Conv2d_1a_3x3.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    told = net.of(small)
    hook.remove()
    assert told.shape == (1, 2048) and told.dtype == np.float32 and np.isfinite(told).all() and told.std() > 0
    at = lambda n: (np.arange(299) + 0.5) * n / 299 - 0.5  # noqa: E731  half-pixel centres, edges repeated
    plain = small[0, 0] / 127.5 - 1
    rows = np.stack([np.interp(at(4), np.arange(4), plain[:, j]) for j in range(6)], 1)
    whole = np.stack([np.interp(at(6), np.arange(6), row) for row in rows])
    assert seen[0].shape == (1, 3, 299, 299)
    assert np.allclose(seen[0][0].numpy(), whole, atol=1e-5) and plain.min() >= -1 and plain.max() <= 1


def test_pools_of_2015() -> None:
    one = torch.ones(1, 1, 3, 3)
    assert mean_pool(one).equal(one)  # padding is not counted
    assert max_pool(-one).equal(-one)
    made = Inception()
    assert made.Mixed_7b.pool is mean_pool and made.Mixed_7c.pool is max_pool


def test_weights_of_a_file_come_back_and_are_named_by_a_digest(net: Inception, weights: Path, tmp_path: Path) -> None:
    random = torch.get_rng_state()
    loaded, mark, classes = load_inception(weights)
    assert torch.get_rng_state().equal(random) and not loaded.training
    assert classes == 1000 and len(mark) == 16
    assert all(v.equal(net.state_dict()[k]) for k, v in loaded.state_dict().items() if not k.endswith("tracked"))
    moved = {k: v.clone() for k, v in net.state_dict().items() if not k.endswith("tracked")}
    moved["Mixed_7c.branch1x1.bn.bias"][0] += 1
    save_file(moved, tmp_path / "other.safetensors")
    _, other, none = load_inception(tmp_path / "other.safetensors")
    assert other != mark and none is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"Mixed_5b.branch1x1.conv.weight": None}, r"lacks Mixed_5b.branch1x1.conv.weight: name them as Conv2d_1a"),
        ({"conv.0.weight": torch.zeros(1)}, "has also conv.0.weight"),
        ({"Conv2d_1a_3x3.conv.weight": torch.zeros(32, 3, 3, 4)}, r"of shape \(32, 3, 3, 3\), got \(32, 3, 3, 4\)"),
    ],
)
def test_other_weights_are_refused(net: Inception, tmp_path: Path, change: dict[str, torch.Tensor], words: str) -> None:
    held = {k: v for k, v in (dict.fromkeys(net.state_dict()) | change).items()}
    held = {k: torch.zeros(1) if v is None else v for k, v in held.items() if k not in change or v is not None}
    save_file(held, tmp_path / "w.safetensors")
    with pytest.raises(BadFile, match=words):
        load_inception(tmp_path / "w.safetensors")


def test_a_pickle_is_refused_and_the_way_out_works(net: Inception, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"Conv2d_1a_3x3.conv.weight": torch.ones(2)}, path)
    with pytest.raises(BadFile, match=r"can run code: convert it once, .* python -c \"import torch") as told:
        load_inception(path)
    line = str(told.value).split('python -c "')[1].rstrip('"')
    with pytest.MonkeyPatch.context() as here:
        here.chdir(tmp_path)
        exec(line)
    with pytest.raises(BadFile, match="lacks Conv2d_1a_3x3.bn.bias"):
        load_inception(tmp_path / "w.safetensors")
    for name, words in (("gone.safetensors", "found none"), ("text.safetensors", "no safetensors file")):
        if name.startswith("text"):
            (tmp_path / name).write_text("no weights")
        with pytest.raises(BadFile, match=words):
            load_inception(tmp_path / name)


# -- distances ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [30, 400])  # fewer examples than numbers, and more
def test_distances_of_moved_features(n: int) -> None:
    x = np.random.default_rng(0).normal(size=(n, 100)).astype(np.float32)
    assert frechet(x, x, ddof=1) == pytest.approx(0, abs=1e-6)
    assert frechet(x, x + 0.5, ddof=1) == pytest.approx(100 * 0.25, rel=1e-5)
    scaled = np.trace(np.cov(x, rowvar=False))  # |S - 2 S|: (2 - 1)^2 tr S, and the mean moves with it
    assert frechet(x, 2 * x, ddof=1) == pytest.approx(scaled + np.square(x.mean(0)).sum(), rel=1e-5)


def test_kernel_distance_is_that_of_pairs_one_by_one() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 3)), rng.normal(1, 1, size=(4, 3))
    k = lambda a, b: (a @ b / 3 + 1) ** 3  # noqa: E731
    own = [np.mean([k(a, b) for i, a in enumerate(v) for j, b in enumerate(v) if i != j]) for v in (x, y)]
    assert kernel_distance(x, y) == pytest.approx(sum(own) - 2 * np.mean([k(a, b) for a in x for b in y]))
    same = [kernel_distance(rng.normal(size=(40, 3)), rng.normal(size=(40, 3))) for _ in range(300)]
    assert abs(np.mean(same)) < 4 * np.std(same) / 300**0.5  # without bias


# -- the verb ----------------------------------------------------------------------------------------------------------


def test_evaluate_gives_fid_beside_its_floor(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "bars.npy", bars())
    fitted = pofx.fit(tmp_path / "bars.npy", model="vae", steps=20, quiet=True, guard=False, **SMALL)
    found = fitted.evaluate(rows=2, inception=weights, quiet=True)
    told = found.canonical
    assert told is not None and told.fid.protocol == told.fid_floor.protocol
    assert told.fid.protocol.n == 2 and len(told.fid.protocol.extractor) == 16
    assert told.fid.value > 0 and np.isfinite([told.kid.value, told.kid_floor.value]).all()
    words = " ".join(found.words)
    assert "2 samples and 2 unseen images, space inception-v3 of 2015" in words and told.fid.protocol.extractor in words
    assert "FID of 2 images is too high: 2048 numbers want 2048 images at least" in words
    assert "classifier of 1000 classes" in words and found.to_json()["canonical"]["protocol"]["n"] == 2
    with pytest.raises(SpecError, match="two unseen and two training images at least for FID, got 1"):
        fitted.evaluate(rows=1, inception=weights, quiet=True)
    fitted.save(tmp_path / "m.pofx")
    assert main(["evaluate", str(tmp_path / "m.pofx"), "--inception", str(tmp_path / "w.pth")]) == 2
    assert "found none" in capsys.readouterr().err
    coloured = pofx.fit(bars(channels=4), model="vae", steps=2, quiet=True, guard=False, **SMALL)
    with pytest.raises(SpecError, match="1 or 3 channels for Inception, got 4"):
        coloured.evaluate(bars(channels=4)[:2], train=bars(channels=4), inception=weights, quiet=True)
    silent = pofx.fit(bars(), model="denoising", steps=2, quiet=True, guard=False)
    with pytest.raises(Unsupported, match="draws no images, which FID is of"):
        silent.evaluate(bars()[:2], train=bars(), inception=weights, quiet=True)


def test_unlike_figures_are_not_compared_and_enough_images_are_not_warned_of() -> None:
    p = Protocol("inception-v3 of 2015, bilinear 299", 3000, "test", 0, "data", "weights")
    one = Canonical(*(Figure(v, 0.0, p) for v in (9.0, 1.0, 2.0, 0.1)), classes=1008)
    assert one.fid.over(one.fid_floor) == 7 and len(one.words()) == 1
    with pytest.raises(SpecError, match="one protocol, got extractor 'weights' and 'others': measure both"):
        one.fid.over(Figure(8.0, 0.0, Protocol(p.space, p.n, p.split, p.seed, p.data, "others")))
