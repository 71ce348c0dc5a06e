"""Labels of images: read, learned as a condition, written; and those that are missing, summed over exactly."""

import gzip
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import pofx
from pofx.codecs.image import ImageCodec
from pofx.codecs.picture_io import Pictures, labels_of, read_images, sheet_of_labels, write_images
from pofx.compose import Joint
from pofx.errors import CodecError, SpecError, Unsupported
from pofx.fields import Category, Real
from pofx.models import create
from pofx.models.lens import Lens
from pofx.models.model import Batch, Clock
from pofx.nn.latents import Single
from pofx.nn.posteriors import Diagonal
from pofx.nn.priors import StandardNormal
from pofx.spec import Columns, Spec

SMALL = {"latent": 2, "width": 16, "depth": 1, "components": 1, "samples": 8, "network": "mlp", "prior": "normal"}
SIGN = np.where(np.random.default_rng(99).random((6, 6)) < 0.5, -1, 1)


def two_classes(n: int, seed: int = 0, shift: float = 25.0) -> tuple[np.ndarray, np.ndarray]:
    """Noise around one of two patterns, +SIGN for class 1 and -SIGN for class 0."""
    rng = np.random.default_rng(seed)
    y = np.concatenate([[0, 1], rng.integers(0, 2, n - 2)])
    v = 128 + shift * SIGN * (2 * y - 1)[:, None, None] + 30 * rng.normal(size=(n, 6, 6))
    return v.round().clip(0, 255).astype(np.uint8), y


def pattern(x: np.ndarray) -> np.ndarray:
    """The class that the pattern of each image says."""
    return ((x.astype(float) - 128) * SIGN).sum((1, 2)) > 0


@pytest.fixture(scope="module")
def model() -> pofx.Fitted:
    return pofx.fit(*two_classes(300)[:1], labels=two_classes(300)[1] + 3, model="vae", steps=200, quiet=True, **SMALL)


# -- reading and writing -----------------------------------------------------------------------------------------------


def test_labels_are_whole_numbers_or_texts_and_may_be_missing() -> None:
    assert labels_of([3, None, 4.0, math.nan, np.int8(5)], 5).tolist() == [3, None, 4, None, 5]
    assert labels_of(["a", "", 1], 3).tolist() == ["a", None, "1"]
    assert labels_of([1.5, math.inf, np.float32(2)], 3).tolist() == ["1.5", "inf", "2"]
    assert labels_of(np.array([1.0, np.nan]), 2).tolist() == [1, None]
    assert labels_of(pd.Series([1, pd.NA], dtype="Int64"), 2).tolist() == [1, None]
    assert labels_of(np.array([b"x", b"y"]), 2).tolist() == ["x", "y"]
    assert labels_of([True, False], 2).tolist() == ["True", "False"]
    for wrong, words in (([1, 2], "expected 3 labels, one for each image, got 2"), (np.eye(3), "got 3 x 3 of them")):
        with pytest.raises(CodecError, match=words):
            labels_of(wrong, 3)


@pytest.mark.parametrize("labels", [[3, 1, 3, 1], ["b", "🐈", "b", "ü x"], ["b", None, "b", "a"]])
@pytest.mark.parametrize("name", ["all.npz", "folder"])
def test_what_is_written_comes_back_with_its_labels(tmp_path: Path, name: str, labels: list[object]) -> None:
    images = two_classes(4)[0]
    write_images(read_images((images, labels))[0], tmp_path / name)
    back = read_images(tmp_path / name)[0]
    text = sorted((str(label), image.tolist()) for label, image in zip(labels, images, strict=True))
    assert sorted((str(k), v.tolist()) for k, v in zip(back.labels, back.images[..., 0], strict=True)) == text
    if name == "all.npz":
        assert back.labels.tolist() == labels


def test_a_label_that_names_no_folder_is_refused(tmp_path: Path) -> None:
    for label in ("a/b", "..", "a\\b"):
        with pytest.raises(CodecError, match="expected labels that can name folders"):
            write_images(read_images((two_classes(2)[0], [label, "x"]))[0], tmp_path / "f")
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize(("images", "labels"), [
    ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"), ("t-images.idx3-ubyte.gz", "t-labels.idx1-ubyte"),
    ("train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz"),
])  # fmt: skip
def test_the_labels_file_beside_an_idx_file_is_read(tmp_path: Path, images: str, labels: str) -> None:
    x, y = two_classes(20)
    data = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in x.shape) + x.tobytes()
    beside = b"\0\0\x08\x01" + (20).to_bytes(4, "big") + y.astype(np.uint8).tobytes()
    (tmp_path / images).write_bytes(gzip.compress(data) if images.endswith("gz") else data)
    assert read_images(tmp_path / images)[0].labels is None
    (tmp_path / labels).write_bytes(gzip.compress(beside) if labels.endswith("gz") else beside)
    assert read_images(tmp_path / images)[0].labels.tolist() == y.tolist()
    (tmp_path / labels).write_bytes(gzip.compress(beside[:-1]) if labels.endswith("gz") else beside[:-1])
    with pytest.raises(CodecError, match="expected 20 labels, one for each image, got 19"):
        read_images(tmp_path / images)


def test_a_sheet_begins_a_row_with_each_label() -> None:
    images = np.arange(1, 6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 1, 1), np.uint8)
    made = sheet_of_labels(images, np.array(["b", "a", "b", None, "b"], object), columns=2)
    assert made[::2, ::2, 0].tolist() == [[2, 0], [1, 3], [5, 0], [4, 0]]


def test_the_codec_is_exact_and_labels_keep_their_type() -> None:
    for labels in ([2, 2, 10, None], ["2", "b", "b", None]):
        held = read_images((two_classes(4)[0], labels))[0]
        codec = ImageCodec.from_json(*ImageCodec.learn(held).to_json())
        assert codec.decode(codec.encode(held)).labels.tolist() == labels
        assert codec.encode(Pictures(held.images))["label"].tolist() == [-1] * 4


# -- which labels become the condition ---------------------------------------------------------------------------------


def folder(path: Path, names: list[str]) -> Path:
    for i, (name, image) in enumerate(zip(names, two_classes(max(len(names), 2))[0], strict=False)):
        (path / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path / name / f"{i}.png")
    return path


def quick(source: object, **words: object) -> pofx.Fitted:
    return pofx.fit(source, **({"model": "vae", "steps": 2, "quiet": True} | SMALL | words))


def test_class_folders_are_the_condition_by_default_and_can_be_left_out(tmp_path: Path) -> None:
    path = folder(tmp_path / "p", ["🐈", "dog"] * 8)
    model = quick(path)
    assert model.codec.levels and "labels     2, the condition\n" in model.info() and "condition  label" in model.info()
    drawn = model.sample(40, seed=0, quiet=True)
    assert set(drawn.labels) == {"🐈", "dog"} and drawn.images.shape == (40, 6, 6)
    assert set(model.sample(9, given="label = 🐈", quiet=True).labels) == {"🐈"}
    for left in ((), "none"):
        plain = quick(path, condition=left)
        assert "labels     2, left out: as asked" in plain.info() and isinstance(
            plain.sample(2, quiet=True), np.ndarray
        )
    alone = pofx.fit(path, model="autoencoder", steps=2, quiet=True, latent=2, width=8, depth=1)
    assert "labels     2, left out: this model learns p(x) alone" in alone.info()
    with pytest.raises(Unsupported, match=r"'autoencoder' cannot learn p\(x \| c\)"):
        pofx.fit(path, model="autoencoder", condition="label", quiet=True)


def test_folders_that_are_no_classes(tmp_path: Path) -> None:
    one = folder(tmp_path / "one", ["cat"] * 6)
    assert "labels     1, left out: 'cat' is the only one" in quick(one).info()
    with pytest.raises(SpecError, match="expected two labels or more, got 1"):
        quick(one, condition="label")
    partly = folder(tmp_path / "partly", ["a", "b", "."] * 6)
    assert "left out: 6 of 18 pictures lie in no sub-folder" in quick(partly).info()
    assert "labels     2, the condition; 6 of 18 missing" in quick(partly, condition="label").info()
    with pytest.raises(SpecError, match="expected two labels or more, got 0"):
        quick(two_classes(10)[0], condition="label")
    with pytest.raises(SpecError, match="expected the condition 'label' or none of images, got 'colour'"):
        quick(two_classes(10)[0], condition="colour")
    with pytest.raises(SpecError, match="expected labels with images alone"):
        pofx.fit(pd.DataFrame({"a": [1, 2] * 9}), labels=[1] * 18, quiet=True)


def test_a_class_with_one_image_and_constant_images() -> None:
    x, y = two_classes(30)
    y[0] = 7
    inside, outside = quick(x, labels=y, split=(1, 0, 0)), quick(x, labels=y, split=(0.5, 0.5, 0), seed=1)
    assert inside.codec.levels == outside.codec.levels == ("1", "0", "7")
    assert set(outside.sample(5, given="label = 7", quiet=True).labels) == {7}
    assert np.isfinite(inside.log_prob((x, y))).all() and np.isfinite(outside.log_prob(x)).all()
    with pytest.raises(CodecError, match="got '8': leave these out"):
        outside.log_prob((x, np.where(y == 7, 8, y)))
    blank = quick(np.zeros((20, 6, 6), np.uint8), labels=[0, 1] * 10)
    assert np.isfinite(blank.log_prob((np.zeros((2, 6, 6), np.uint8), [0, 1]))).all()


# -- the verbs ---------------------------------------------------------------------------------------------------------


def test_draws_carry_labels_and_conditions_hold(model: pofx.Fitted, tmp_path: Path) -> None:
    images, labels = model.sample(400, seed=1, quiet=True)
    assert images.shape == (400, 6, 6) and labels.dtype == np.int64 and set(labels) == {3, 4}
    assert (pattern(images) == (labels == 4)).mean() > 0.95
    assert abs((labels == 4).mean() - 0.5) < 0.1
    for given in ("label = 3", {"label": 3}, {"label": [3]}, "label in {3}", "label != 4"):
        some = model.sample(60, given, seed=2, quiet=True)
        assert set(some.labels) == {3} and pattern(some.images).mean() < 0.1
    for wrong, words in (("label = 9", "names '9', which was never seen in 'label': expected one of '3', '4'|'4', '3'"),
                         ("colour = 3", "names the column 'colour', expected one of 'label'"),
                         ("label is missing", "holds no value that was seen")):  # fmt: skip
        with pytest.raises(CodecError, match=words):
            model.sample(2, wrong, quiet=True)
    model.save(tmp_path / "m.pofx")
    again = pofx.load(tmp_path / "m.pofx").sample(400, seed=1, quiet=True)
    assert np.array_equal(again.images, images) and np.array_equal(again.labels, labels)
    model.sample(12, seed=1, path=tmp_path / "drawn", quiet=True)
    assert sorted(p.name for p in (tmp_path / "drawn").iterdir()) == ["3", "4"]


def test_a_joint_likelihood_sums_over_the_labels_to_that_of_the_image(model: pofx.Fitted) -> None:
    """log p(x) = log sum_c p(x, c), where the mass that is kept for labels never seen is left aside."""
    x, y = two_classes(40, 5)
    told = model.log_prob((x, y + 3), detail=True)
    np.testing.assert_allclose(told["log_prob"], told["log_prob.image"] + told["log_prob.label"])
    np.testing.assert_allclose(told["bits_per_dim"], -told["log_prob.image"] / 36 / np.log(2))
    each = np.stack([model.log_prob((x, [c] * 40)) for c in (3, 4)])
    whole = model.log_prob(x)
    kept = np.log(np.exp(model.joint.log_prob({"label": np.array([0, 1], np.int32)})).sum())
    np.testing.assert_allclose(np.logaddexp(*each), whole + kept, atol=1e-3)
    assert -0.05 < kept < 0
    some = labels_of([None, *(y[1:] + 3)], 40)
    np.testing.assert_allclose(model.log_prob((x, some))[:3], np.r_[whole[0], told["log_prob"][1:3]], atol=1e-4)
    assert (told["log_prob"] > model.log_prob((x, 4 - y))).mean() > 0.9


def test_codes_images_and_labels_of_images_without_labels(model: pofx.Fitted, tmp_path: Path) -> None:
    x, y = two_classes(30, 7)
    filled = model.complete(x)
    assert np.array_equal(filled.images, x) and (filled.labels == y + 3).mean() > 0.9
    kept = model.complete((x, [3, *[None] * 29]))
    assert kept.labels[0] == 3 and np.array_equal(kept.labels[1:], filled.labels[1:])
    rebuilt = model.reconstruct(x)
    assert np.array_equal(rebuilt.labels, filled.labels) and (pattern(rebuilt.images) == (filled.labels == 4)).all()
    assert np.array_equal(rebuilt.images, model.reconstruct((x, filled.labels)).images)
    assert model.encode(x).equals(model.encode((x, filled.labels)))
    assert model.interpolate((x[:2], y[:2] + 3), x[2:4], steps=4).shape == (8, 6, 6)
    judged = model.anomaly(x)
    assert 0.2 < judged["p_value"].mean() < 0.8 and (model.anomaly(255 - x // 2)["p_value"] < 0.1).mean() > 0.5
    with pytest.raises(CodecError, match="expected labels among '[34]', '[34]', got '8', '9': leave these out"):
        model.log_prob((x[:2], [9, 8]))
    with pytest.raises(Unsupported, match="of images only missing labels are filled"):
        model.complete(x, draws=3)


@pytest.mark.parametrize("name", ["iwae", "hvae", "wae", "aae", "vq"])
def test_every_model_with_a_condition_learns_labels(name: str) -> None:
    x, y = two_classes(60)
    model = pofx.fit(x, labels=y, model=name, steps=3, quiet=True, width=8, depth=1, network="mlp")
    assert set(model.sample(20, quiet=True).labels) == {0, 1}
    assert model.reconstruct((x, y)).images.shape == x.shape and len(model.anomaly((x, y))) == 60
    if name in ("wae", "aae", "vq"):
        with pytest.raises(SpecError, match=f"expected 'label' of every row, got 60 missing: model '{name}' cannot"):
            model.reconstruct(x)
    else:
        assert np.isfinite(model.log_prob(x)).all()


@pytest.mark.parametrize("name", ["vae", "wae"])
def test_codes_have_their_label_beside_them(name: str, model: pofx.Fitted, tmp_path: Path) -> None:
    from pofx.cli import main

    x, y = two_classes(40)
    words = {"latent": 2, "width": 16, "depth": 1, "network": "mlp"}
    made = model if name == "vae" else pofx.fit(x, labels=y + 3, model=name, steps=20, quiet=True, **words)
    codes = made.encode((x, y + 3))
    assert list(codes.columns) == ["z0", "z1", "label"] and np.array_equal(codes["label"], y + 3)
    wanted = made.reconstruct((x, y + 3))
    for given in (codes, codes[["label", "z1", "z0"]]):
        back = made.decode(given)
        assert np.array_equal(back.labels, y + 3) and np.abs(back.images.astype(int) - wanted.images).max() <= 1
    np.savez(tmp_path / "x.npz", images=x, labels=y + 3)
    made.save(tmp_path / "m.pofx")
    here = str(tmp_path)
    assert main(["encode", f"{here}/m.pofx", f"{here}/x.npz", "-o", f"{here}/z.csv", "--quiet"]) == 0
    assert main(["decode", f"{here}/m.pofx", f"{here}/z.csv", "-o", f"{here}/d.npz", "--quiet"]) == 0
    assert np.array_equal(np.load(tmp_path / "d.npz")["labels"], y + 3)
    with pytest.raises(CodecError, match=r"expected the columns z0, z1, ... of codes, and 'label' of the condition, g"):
        made.decode(codes[["z0", "z1"]])
    with pytest.raises(SpecError, match="expected 'label' of every (code|row), got 40 missing"):
        made.decode(codes.assign(label=None))
    with pytest.raises(CodecError, match="expected labels among '[34]', '[34]', got '9'"):
        made.decode(codes.assign(label=9))


def test_codes_of_a_table_have_their_condition_beside_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    day = pd.to_datetime("2024-01-01") + pd.to_timedelta(rng.integers(0, 9, 200), "D")
    frame = pd.DataFrame({"z0": ["u", "v"] * 100, "day": day, "a": np.round(rng.normal(size=200), 2)})
    for source in (frame, str(tmp_path / "d.csv")):
        frame.to_csv(tmp_path / "d.csv", index=False)
        made = pofx.fit(source, model="vae", condition=["z0", "day"], steps=5, latent=2, width=16, depth=1, quiet=True)
        codes = made.encode(source)
        assert list(codes.columns) == ["z0", "z1", "z0_", "day"]
        pd.testing.assert_frame_equal(made.decode(codes).astype(str), made.reconstruct(source).astype(str))


def test_the_command_line(tmp_path: Path) -> None:
    from pofx.cli import main

    x, y = two_classes(40)
    np.savez(tmp_path / "x.npz", images=x, labels=y)
    model, words = str(tmp_path / "m.pofx"), [part for k, v in SMALL.items() for part in ("--set", f"{k}={v}")]
    start = ["fit", str(tmp_path / "x.npz"), "-o", model, "--model", "vae", "--steps", "2", "--quiet"]
    assert main([*start, "--condition", "none", *words]) == 0 and not pofx.load(model).joint
    assert main([*start, *words]) == 0
    for verb, out in (("score", "s.csv"), ("reconstruct", "r"), ("complete", "c"), ("anomaly", "a.csv")):
        assert main([verb, model, str(tmp_path / "x.npz"), "-o", str(tmp_path / out), "--quiet"]) == 0
    assert main(["sample", model, "-n", "5", "-o", str(tmp_path / "d.npz"), "--given", "label = 1", "--quiet"]) == 0
    assert np.load(tmp_path / "d.npz")["labels"].tolist() == [1] * 5
    assert main(["sample", model, "-n", "5", "-o", str(tmp_path / "d.npz"), "--given", "label = 2", "--quiet"]) == 2
    assert np.array_equal(np.sort(read_images(tmp_path / "c")[0].labels), np.sort(y.astype(str)))
    assert list(pd.read_csv(tmp_path / "s.csv").columns[:3]) == ["image", "log_prob", "bits_per_dim"]


# -- labels that are missing -------------------------------------------------------------------------------------------


def test_unlabelled_images_help() -> None:
    """Ten labels among 500 images: classes are told apart as well as with all labels, and likelihoods as high."""
    x, y = two_classes(500, shift=12.0)
    held, truth = two_classes(200, 1, shift=12.0)
    some = np.concatenate([np.flatnonzero(y == k)[:5] for k in (0, 1)])
    labels = [int(y[i]) if i in some else None for i in range(500)]
    words = {"split": (1, 0, 0), "steps": 150, "quiet": True, "model": "vae"} | SMALL
    few = pofx.fit(x[some], labels=y[some], **words)
    half = pofx.fit(x, labels=labels, **words)
    right = {name: (m.complete(held).labels == truth).mean() for name, m in (("few", few), ("half", half))}
    assert right["half"] > 0.97 and right["half"] > right["few"] + 0.02
    assert half.log_prob((held, truth)).mean() > few.log_prob((held, truth)).mean() + 5
    assert "490 of 500 missing" in half.info()


class Linear(Lens):
    """x of D numbers, log N(x; theta, SIGMA^2)."""

    shape, told, draws, parts, room = (6,), (6,), 6, 1, 6

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("like", torch.zeros(0, dtype=torch.float64))

    def prepare(self, x: Columns) -> tuple[Batch, Tensor]:
        v = torch.from_numpy(np.stack([x[k] for k in x if k != "c"], 1))
        return (v,), torch.zeros(len(v), dtype=torch.float64)

    def see(self, own: Batch) -> Tensor:
        return own[0]

    def log_mass(self, theta: Tensor, own: Batch) -> Tensor:
        return -0.5 * ((own[0] - theta) / SIGMA).square().sum(-1) - 6 * (math.log(SIGMA) + 0.5 * math.log(2 * math.pi))

    def trace(self, own: Batch) -> Tensor:
        return own[0]


SIGMA, MASS = 0.5, (0.5, 0.3, 0.2)  # levels stand in falling frequency


class Exact(nn.Module):
    """p(x|z, c) = N(m_c + W z, SIGMA^2), W of orthogonal columns; says q(z|x, c), right or `wrong`, or m_c + W z."""

    def __init__(self, wrong: float, decodes: bool) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.w = torch.linalg.qr(torch.randn(6, 2, generator=g, dtype=torch.float64))[0] * torch.tensor([1.5, 0.7])
        self.m = 0.6 * torch.randn(3, 6, generator=g, dtype=torch.float64)
        self.wrong, self.decodes = wrong, decodes

    def forward(self, v: Tensor, c: Tensor) -> Tensor:
        middle = self.m[c[:, 0].long()]
        if self.decodes:
            return middle + v @ self.w.T
        precision = 1 + self.w.square().sum(0) / SIGMA**2
        mean = (v - middle) @ self.w / SIGMA**2 / precision
        raw = (precision.rsqrt() * (1 + self.wrong)).log().expand_as(mean)
        return torch.cat([mean + self.wrong, 7 * torch.atanh(raw / 7)], 1)

    def exact(self, v: Tensor) -> Tensor:
        """log p(x, c) of each class, (3, B)."""
        cover = self.w @ self.w.T + SIGMA**2 * torch.eye(6, dtype=torch.float64)
        law = [torch.distributions.MultivariateNormal(m, cover).log_prob(v) for m in self.m]
        return torch.stack(law) + torch.tensor(MASS, dtype=torch.float64).log().unsqueeze(1)


class Name(nn.Module):
    """The condition's code as its vector."""

    def forward(self, lo: Tensor, width: Tensor, codes: Tensor) -> Tensor:
        return codes.double()


def mixture(wrong: float, **words: object) -> tuple[object, Columns, Tensor]:
    """A linear-Gaussian mixture of three classes as a model, rows of it, and log p(x, c) of them, (3, B)."""
    exact = Exact(wrong, decodes=False)
    rng = np.random.default_rng(3)
    c = rng.choice(3, 400, p=MASS)
    v = exact.m.numpy()[c] + rng.normal(size=(400, 2)) @ exact.w.numpy().T + SIGMA * rng.normal(size=(400, 6))
    x = {f"x{j}": v[:, j] for j in range(6)}
    code = np.repeat(np.arange(3), [5, 3, 2]).astype(np.int32)
    fields = tuple(Real.learn(k, v, 2) for k, v in x.items())
    spec = Spec.table(fields, (Category.learn("c", code, ("h", "m", "l")).seen_alone(),))
    model = create("vae", spec, latent=2, prior="normal", masked=0.0, warmup=0.0, doubly=False, **words)
    model.lens, model.context = Linear(), Name()
    model.encoder, model.decoder = exact, Exact(0.0, decodes=True)
    model.latents = Single(StandardNormal(2), Diagonal(2))
    return model.double(), x, exact.exact(torch.from_numpy(v))


UNKNOWN = {"c": np.full(400, -1, np.int32)}


def test_with_exact_posteriors_the_sum_over_classes_is_log_p_of_every_row() -> None:
    model, x, joint = mixture(0.0)
    got = model.bound(x, UNKNOWN, draws=3)
    np.testing.assert_allclose(got.value, joint.logsumexp(0).numpy(), atol=1e-6)
    assert got.error.max() < 1e-4 and (got.size > 3 - 1e-6).all() and (got.size < 9 + 1e-6).all()
    assert np.array_equal(model.settled(x, UNKNOWN)["c"], joint.argmax(0).numpy())
    half = np.where(np.arange(400) % 2, 1, -1).astype(np.int32)
    mixed = model.log_prob(x, {"c": half})
    np.testing.assert_allclose(mixed[::2], got.value[::2], atol=1e-6)
    np.testing.assert_allclose(mixed[1::2], model.log_prob(x, {"c": half * 0 + 1})[1::2], atol=1e-6)


@pytest.mark.parametrize("estimator", ["elbo", "iwae", "miwae"])
def test_the_bound_of_training_is_at_most_log_p(estimator: str) -> None:
    """With wrong posteriors it is below log p, and below the sum over classes that its draws stand for; with the right
    ones its mean is log p, whatever class is drawn.
    """
    right, x, joint = mixture(0.0, estimator=estimator, draws=4)
    exact = joint.logsumexp(0)
    value = -right.loss(right.prepare(x, UNKNOWN), Clock(1, 1), torch.Generator().manual_seed(0))
    if estimator != "elbo":
        torch.testing.assert_close(value.double(), exact, atol=1e-5, rtol=0)
    wrong, x, _ = mixture(0.4, estimator=estimator, draws=4)
    batch = wrong.prepare(x, UNKNOWN)
    drawn = [-wrong.loss(batch, Clock(1, 1), torch.Generator().manual_seed(s)).detach() for s in range(30)]
    short = (exact - torch.stack(drawn).double()).mean(0)
    assert short.mean() > 0.05 and (short > -0.3).all()
    scored = wrong.bound(x, UNKNOWN, draws=1).value
    assert scored.mean() < exact.mean() and wrong.bound(x, UNKNOWN, draws=256).value.mean() < exact.mean() + 0.01


def test_the_gradient_of_a_step_is_that_of_log_p() -> None:
    """Fisher: the gradient of log p(x) is the posterior mean over c of that of log p(x, c)."""
    model, x, _ = mixture(0.0, estimator="iwae", draws=1)
    decoder = model.decoder
    decoder.m = nn.Parameter(decoder.m.clone())
    found = torch.zeros(3, 6, dtype=torch.float64)
    for s in range(60):
        decoder.m.grad = None
        (-model.loss(model.prepare(x, UNKNOWN), Clock(1, 1), torch.Generator().manual_seed(s))).mean().backward()
        found += decoder.m.grad / 60
    m = decoder.m.detach().clone().requires_grad_(True)
    truth = Exact(0.0, decodes=True)
    truth.m = m
    truth.exact(torch.from_numpy(np.stack(list(x.values()), 1))).logsumexp(0).mean().backward()
    torch.testing.assert_close(found, m.grad, atol=0.02, rtol=0.05)


@pytest.mark.parametrize("words", [{"prior": "realnvp"}, {"prior": "mixture"}, {"model": "hvae"}])
def test_draws_are_of_the_class_that_was_asked_for_though_codes_tell_it_too(words: dict[str, str]) -> None:
    """Codes tell classes that differ much, whatever the decoder is told besides: the prior has to follow the class."""
    rng, words = np.random.default_rng(0), {"model": "vae"} | words
    label = rng.choice(list("abcd"), 2000)
    far = np.array([[8, 0, 0], [0, 8, 0], [0, 0, 8], [-8, -8, 0]])
    x = far[[list("abcd").index(k) for k in label]] + rng.normal(size=(2000, 3))
    frame = pd.DataFrame({f"x{j}": x[:, j] for j in range(3)} | {"label": label})
    fitted = pofx.fit(frame, condition="label", steps=400, seed=0, quiet=True, **words)
    drawn = fitted.sample(1000, seed=1)
    nearest = ((drawn[["x0", "x1", "x2"]].to_numpy()[:, None] - far) ** 2).sum(2).argmin(1)
    assert (np.array(list("abcd"))[nearest] == drawn["label"]).mean() > 0.95


def test_too_many_classes_or_several_columns_are_refused() -> None:
    x = two_classes(200)[0]
    labels = [i % 66 if i > 3 else None for i in range(200)]
    with pytest.raises(SpecError, match=r"expected 'label' of every row, got \d missing: model 'vae' cannot integrate"):
        quick(x, labels=labels, split=(1, 0, 0))


def test_missing_cells_of_a_tables_condition_are_summed_over() -> None:
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, 400)
    frame = pd.DataFrame({"kind": np.where(kind, "u", "v"), "a": np.round(rng.normal(4 * kind, 1), 2)})
    holes = frame.assign(kind=[k if i % 4 == 0 else None for i, k in enumerate(frame["kind"])])
    words = {
        "model": "vae",
        "condition": "kind",
        "missing": "unknown",
        "steps": 120,
        "quiet": True,
        "masked": 0.0,
        "samples": 16,
    }
    model = pofx.fit(holes, **words, latent=1, width=16, depth=1, components=1, prior="normal")
    each = np.stack([model.log_prob(frame.assign(kind=k)) for k in "uv"])
    np.testing.assert_allclose(np.logaddexp(*each), model.log_prob(frame.assign(kind=None)), atol=0.06)
    assert (model.reconstruct(frame.assign(kind=None))["kind"] == frame["kind"]).mean() > 0.9
    assert model.sample(50, quiet=True)["kind"].notna().all()


@pytest.mark.parametrize(
    ("missing", "gaps"), [("unknown", True), ("unknown", False), ("state", False), ("state", True)]
)
def test_completion_fills_a_missing_condition(missing: str, gaps: bool) -> None:
    rng = np.random.default_rng(0)
    kind = rng.choice(["u", "v"], 400)
    frame = pd.DataFrame({"kind": kind, "a": np.round(4.0 * (kind == "u") + rng.normal(0, 0.7, 400), 2)})
    frame["b"] = np.round(frame["a"] + rng.normal(0, 0.5, 400), 2)
    learned = frame.assign(kind=[None if gaps and i % 5 == 0 else k for i, k in enumerate(kind)])
    small = {"latent": 1, "width": 16, "depth": 1, "components": 1, "prior": "normal", "samples": 16}
    model = pofx.fit(
        learned, model="vae", condition="kind", missing=missing, steps=120, quiet=True, guard=False, **small
    )
    asked = frame.assign(kind=[k if i % 4 == 0 else None for i, k in enumerate(kind)])
    asked.loc[::3, "b"] = np.nan
    full = model.complete(asked, quiet=True)
    assert not full.isna().any().any() and set(full["kind"]) == {"u", "v"}
    assert (full["kind"] == kind)[::4].all() and (full["kind"] == kind).mean() > 0.9
    drawn = model.complete(asked, draws=2, quiet=True)
    assert drawn["kind"].tolist() == 2 * full["kind"].tolist()


def test_what_is_known_of_a_condition_counts() -> None:
    a, b = np.array([0, 0, 0, 1, 1, -1], np.int32), np.array([0, 1, 1, 1, -1, 0], np.int32)
    fields = tuple(Category.learn(name, v, ("p", "q")).seen_alone() for name, v in (("a", a), ("b", b)))
    joint = Joint.learn(fields, {"a": a, "b": b})
    assert joint.counts.tolist() == [1, 2, 1]
    none = np.array([-1], np.int32)
    of = {k: joint.log_prob({"a": np.array([k], np.int32), "b": none})[0] for k in (0, 1)}
    assert of[0] - of[1] == pytest.approx(math.log(3)) and joint.log_prob({"a": none, "b": none})[0] == 0.0
