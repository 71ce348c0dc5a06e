"""Autoencoders beside pythae and pyod: the same networks on the same rows, seconds of the process and what was learned.

    make bench-autoencoder-peers
    python benchmarks/autoencoder_peers.py --parts mlp nll --rounds 3

mlp, conv: images a second of training a variational autoencoder of binarised MNIST with the network, batch and epochs
of pythae, by its trainer at a rate of 1e-3 and by pofx's as it comes, and the bound of test images. compiled:
with pofx's bound compiled before the clock starts, as fits of five minutes and more have it. own: pofx's own network of
convolutions against pythae's. nll: images a second of importance-sampled likelihood. outliers: rows
a second of training and of scoring, and the ROC AUC, of pyod's AE and VAE with their defaults and of pofx's on the rows
of pendigits and letter without one class, which is then the outlier among unseen rows. Seconds are the process's own,
over its threads; rounds alternate between the two, medians are printed.
"""

import argparse
import contextlib
import io
import json
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from autoencoders import HERE, columns, drawn, pixels
from density import DATA, numbers
from pofx.fields import Pixel
from pofx.models import create
from pofx.models.variational import Variational
from pofx.objectives import iwae, normal_log_prob
from pofx.sklearn import Outliers
from pofx.spec import Block, Spec
from pofx.training.loop import Trainer
from record import keep

LATENT, RATE = 16, 1e-3
PARTS = {
    "mlp": (60_000, 1, 64),
    "mlp compiled": (60_000, 1, 64),
    "conv": (3_200, 1, 64),
    "own": (3_200, 1, 64),
}  # images, epochs, batch
PACKAGES = ("torch", "pythae", "pyod", "scikit-learn")
CLASSES = {"pendigits": list("0123456789"), "letter": list("ABCDEFGHIJ")}  # left out in turn
SCORED, DRAWS = 16, 1000  # images and draws of the likelihood
BOUND, DRAWN = 200, 10  # images and draws of the bound that is printed beside the speed


def timed(what: Callable[[], Any]) -> tuple[float, Any]:
    began = time.process_time()
    got = what()
    return (time.process_time() - began) / torch.get_num_threads(), got


@torch.no_grad()
def bound(encode: Callable[[Tensor], tuple[Tensor, Tensor]], logits: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """The importance-weighted bound of DRAWN draws, mean nats of images x, (n, 1, 28, 28) of 0 and 1, for either."""
    generator, total = torch.Generator().manual_seed(0), 0.0
    for part in x.split(100):
        mean, log_scale = encode(part)
        noise = torch.randn(DRAWN, *mean.shape, generator=generator)
        z = mean + log_scale.exp() * noise
        told = logits(z.flatten(0, 1)).view(DRAWN, len(part), -1)
        like = (part.flatten(1) * told - nn.functional.softplus(told)).sum(-1)
        log_q = normal_log_prob(noise) - log_scale.sum(-1)
        total += float(iwae(like + normal_log_prob(z) - log_q).sum())
    return total / len(x)


def ink(part: str, seed: int = 0) -> np.ndarray:
    """MNIST, each pixel drawn once: 0 or 1."""
    return drawn(pixels("mnist", part), seed) // 255


# -- pythae ------------------------------------------------------------------------------------------------------------


def pythae_model(kind: str) -> Any:
    from pythae.models import VAE, VAEConfig
    from pythae.models.nn.benchmarks.mnist import Decoder_Conv_AE_MNIST, Encoder_Conv_VAE_MNIST

    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=LATENT, reconstruction_loss="bce")
    if kind.startswith("mlp"):
        return VAE(config)
    return VAE(config, encoder=Encoder_Conv_VAE_MNIST(config), decoder=Decoder_Conv_AE_MNIST(config))


def pythae_fit(kind: str, train: np.ndarray, test: Tensor, seed: int) -> dict[str, float]:
    from pythae.data.datasets import BaseDataset
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    images, epochs, batch = PARTS[kind]
    torch.manual_seed(seed)
    model = pythae_model(kind)
    data = torch.from_numpy(train[:images]).float().unsqueeze(1)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        config = BaseTrainerConfig(output_dir=folder, num_epochs=epochs, learning_rate=RATE,
                                   per_device_train_batch_size=batch, no_cuda=True)  # fmt: skip
        trainer = BaseTrainer(model, BaseDataset(data, torch.zeros(len(data))), training_config=config)
        trainer.prepare_training()
        seconds, _ = timed(lambda: [trainer.train_step(epoch) for epoch in range(1, epochs + 1)])
    model = trainer.model.eval()

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        told = model.encoder(x)
        return told.embedding, 0.5 * told.log_covariance

    def logits(z: Tensor) -> Tensor:
        return torch.logit(model.decoder(z).reconstruction.flatten(1), eps=1e-7)

    return {"images_a_second": images * epochs / seconds, "nats": bound(encode, logits, test)}


# -- pofx --------------------------------------------------------------------------------------------------------------


class Wrapped(nn.Module):
    """A network of pythae in the place of pofx's, which have a condition too; its decoder ends before its sigmoid."""

    def __init__(self, net: nn.Module, told: tuple[int, ...] | None = None) -> None:
        super().__init__()
        if told is not None:
            net.layers[-1][-1] = nn.Identity()
        self.net, self.told = net, told

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.training and torch.cpu._is_avx512_bf16_supported()):
            if self.told is not None:
                return self.net(x).reconstruction.view(-1, *self.told).float()
            out = self.net(x.contiguous(memory_format=torch.channels_last))
            return torch.cat([out.embedding, 0.5 * out.log_covariance], 1).float()

    def bias_(self, values: Tensor) -> None:
        pass


def pofx_model(kind: str, train: np.ndarray, seed: int) -> Variational:
    spec = Spec((Block("image", (Pixel.learn("grey", train, top=1),), (28, 28)),))
    words = {"latent": LATENT, "prior": "normal", "warmup": 0.0, "doubly": False, "depth": 0}
    network = {"network": "mlp", "width": 512} if kind.startswith("mlp") else {"network": "conv", "width": 128}
    model = create("vae", spec, seed, **words, **network)
    if kind == "conv":
        peer = pythae_model(kind)
        model.encoder, model.decoder = Wrapped(peer.encoder), Wrapped(peer.decoder, model.lens.told)
        model.to(memory_format=torch.channels_last)
    return model


def pofx_fit(kind: str, train: np.ndarray, test: Tensor, seed: int) -> dict[str, float]:
    images, epochs, batch = PARTS[kind]
    torch.manual_seed(seed)
    model = pofx_model(kind, train, seed)
    held = model.prepare(columns(train[:images]))
    trainer = Trainer(model, held, None, seed, "cpu", batch=batch)
    if kind.endswith("compiled"):
        model.train().quicken()
        trainer.advance(images * epochs // batch)
    seconds, _ = timed(lambda: trainer.run(images * epochs // batch))
    nothing = torch.zeros(1, 0)

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        return model.latents.posterior.split(model.encoder(2 * x - 1, nothing.expand(len(x), 0)))

    def logits(z: Tensor) -> Tensor:
        return model.decoder(z, nothing.expand(len(z), 0)).flatten(1)

    return {"images_a_second": images * epochs / seconds, "nats": bound(encode, logits, test)}


def training(kind: str, seed: int) -> dict[str, dict[str, float]]:
    train, test = ink("train", 1), ink("t10k")[:BOUND]
    x = torch.from_numpy(test).float().unsqueeze(1)
    return {
        "pythae": pythae_fit("conv" if kind == "own" else kind, train, x, seed),
        "pofx": pofx_fit(kind, train, x, seed),
    }


def likelihood(seed: int) -> dict[str, dict[str, float]]:
    """Both at weights as they are made: how fast, not how good."""
    train, test = ink("train", 1), ink("t10k")[:SCORED]
    x = torch.from_numpy(test).float().unsqueeze(1)
    torch.manual_seed(seed)
    peer, own = pythae_model("mlp").eval(), pofx_model("mlp", train, seed).eval()
    theirs, _ = timed(lambda: peer.get_nll(x, n_samples=DRAWS, batch_size=100))
    ours, _ = timed(lambda: own.bound(columns(test), draws=DRAWS))
    return {"pythae": {"images_a_second": SCORED / theirs}, "pofx": {"images_a_second": SCORED / ours}}


# -- outliers ----------------------------------------------------------------------------------------------------------


def labelled(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(rows, classes) to train on and to test, the documented splits."""
    folder = DATA / "uci_numeric"
    if name == "letter":
        x, y = (
            numbers(folder / "letter-recognition.data.gz", slice(1, 17)),
            classes(folder / "letter-recognition.data.gz", 0),
        )
        return x[:16000], y[:16000], x[16000:], y[16000:]
    parts = [
        (numbers(folder / f"pendigits.{part}.gz", slice(0, 16)), classes(folder / f"pendigits.{part}.gz", -1))
        for part in ("tra", "tes")
    ]
    return *parts[0], *parts[1]


def classes(path: Path, column: int) -> np.ndarray:
    import gzip

    with gzip.open(path, "rt", encoding="utf-8") as file:
        return np.array([line.split()[column] for line in file if line.strip()])


def detectors(kind: str, seed: int) -> dict[str, Any]:
    from pyod.models.auto_encoder import AutoEncoder
    from pyod.models.vae import VAE

    peer = AutoEncoder if kind == "autoencoder" else VAE
    return {"pyod": peer(random_state=seed, verbose=0), "pofx": Outliers(kind, random_state=seed)}


def outliers(name: str, kind: str, seed: int) -> dict[str, dict[str, float]]:
    """Medians over the classes that are left out."""
    train, of_train, test, of_test = labelled(name)
    found: dict[str, list[tuple[float, float, float]]] = {}
    for left_out in CLASSES[name]:
        x, strange = train[of_train != left_out], of_test == left_out
        for library, detector in detectors(kind, seed).items():
            learned, _ = timed(lambda detector=detector, x=x: detector.fit(x))
            scored, score = timed(lambda detector=detector: detector.decision_function(test))
            sign = 1 if library == "pyod" else -1
            rows = x.shape[0] * detector.epoch_num if library == "pyod" else learned_rows(detector, len(x))
            auc = roc_auc_score(strange, sign * score)
            found.setdefault(library, []).append((rows / learned, len(test) / scored, auc))
    keys = ("rows_a_second", "scored_a_second", "auc")
    return {library: {k: statistics.median(v) for k, v in zip(keys, zip(*rows, strict=True), strict=True)}
            for library, rows in found.items()}  # fmt: skip


def learned_rows(detector: Outliers, rows: int) -> int:
    """Rows that a fit of pofx read: its steps times its batch."""
    recipe = detector.model_.recipe(rows)
    return recipe.steps * min(recipe.batch, rows)


# -- the run -----------------------------------------------------------------------------------------------------------


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--parts", nargs="+", default=[*PARTS, "nll", "outliers"], choices=[*PARTS, "nll", "outliers"])
    ask.add_argument("--rounds", type=int, default=3)
    ask.add_argument("--threads", type=int, default=1)
    ask.add_argument("--out", type=Path, default=HERE / "results" / "autoencoder_peers.json")
    told = ask.parse_args()
    torch.set_num_threads(told.threads)
    logging.disable(logging.INFO)
    warnings.filterwarnings("ignore")
    jobs: dict[str, Callable[[int], dict[str, dict[str, float]]]] = {
        kind: lambda seed, kind=kind: training(kind, seed) for kind in PARTS
    }
    jobs["nll"] = likelihood
    rows: list[dict[str, Any]] = []
    for seed in range(told.rounds):
        for part in told.parts:
            if part != "outliers":
                rows += [{"part": part, "round": seed, "library": k} | v for k, v in jobs[part](seed).items()]
                continue
            for name in CLASSES:
                for kind in ("autoencoder", "vae"):
                    got = outliers(name, kind, seed)
                    rows += [
                        {"part": f"outliers, {kind}, {name}", "round": seed, "library": k} | v for k, v in got.items()
                    ]
        keep(told.out, rows, PACKAGES, told.threads)
        print(json.dumps(rows[-8:]), flush=True)
    text = printed(rows)
    told.out.with_suffix(".md").write_text(text + "\n")
    print(text)


def printed(rows: list[dict[str, Any]]) -> str:
    """A line a part and figure: the median of each library, half its range, and the ratio."""
    lines = ["| | figure | pythae or pyod | pofx | ratio |", "|---|---|---|---|---|"]
    for part in dict.fromkeys(row["part"] for row in rows):
        own = [row for row in rows if row["part"] == part]
        for figure in [k for k in own[0] if k not in ("part", "round", "library")]:
            theirs, ours = ([r[figure] for r in own if (r["library"] == "pofx") == mine] for mine in (False, True))
            ratio = f"{statistics.median(ours) / statistics.median(theirs):.2g}" if "second" in figure else ""
            cells = [
                f"{statistics.median(v):,.4g}" + (f" ± {(max(v) - min(v)) / 2:.2g}" if len(v) > 1 else "")
                for v in (theirs, ours)
            ]
            lines.append(f"| {part} | {figure.replace('_', ' ')} | {' | '.join(cells)} | {ratio} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
