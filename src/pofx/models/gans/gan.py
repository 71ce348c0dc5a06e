"""gan: a generator, and a critic that compares what it makes with data."""

import math
import warnings
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import SpecError
from ...nn.augment import augment as augmented
from ...nn.mixed import mix
from ...objectives import GAMES, critic_gap, finite_slope, gradient_penalty, sliced_distance, slope
from ...spec import Columns, Given, Spec
from ..lifted import Conditioned
from ..model import DRAWN, Batch, Clock, Model, Recipe, Rows, spans
from ..rivals import rivals_of
from ..sequence_gan import SequenceGAN

WEIGHTS = {"none": 0.0, "clip": 0.01, "gradient": 10.0, "one-sided": 10.0, "r1": 1.0, "r2": 1.0, "r1+r2": 1.0,
           "spectral": 0.0}  # fmt: skip
SQUARES = ("r1", "r2", "r1+r2")  # penalties of squared slopes
SLOPES = (*SQUARES, "gradient", "one-sided")  # what a weight multiplies
MODES = ("lazy", "exact", "finite-difference")
FIRST, COMPARED, APART = 50, 500, 2.0  # the first look at a finite difference, steps between the others; too far off
LATENT_OF_IMAGES, LATENT_OF_ROWS = 64, 16
DIRECTIONS = 128
TARGET, STRIDE, MOST = 0.3, 0.05, 0.8  # of the gap: where it is to be; of the chance: what it moves by, and its bound
ALTERED = 0.9  # the chance of each change in what altered images are told by
CHUNK = 1024


class GAN(Conditioned):
    """G: noise to examples, D: examples to scores; at the balance what G makes has the law of the data.

    objective: what D and G minimise (objectives.GAMES), x real, y = G(e): `relativistic`, E softplus(D(y) - D(x)) and
    E softplus(D(x) - D(y)); `minimax`, `non-saturating`, `least-squares`, `hinge`, `wasserstein`. D takes `critics`
    steps for one of G.

    penalty, times `weight`: `r1+r2`, E(|grad D(x)|^2 + |grad D(y)|^2) / 2, or one of the two; `gradient`,
    E(|grad D| - 1)^2 between x and y, or `one-sided`, slopes above one alone; `clip`: weights of D within +-weight;
    `spectral`: matrices of D over their largest singular value; `none`. penalty_mode: `exact` in each step, `lazy`,
    every `lazy` steps and so many times as strong, or, for r1 and r2, `finite-difference`, without second derivatives
    (the ratio to the exact one is looked at after 50 steps and every 500, with a warning where it is 2). The weight of
    slopes falls by half a cosine to `anneal` of it over the fit; 1 keeps it. waves: of rows, in how many waves G sees
    each number of its noise as well (models/rivals.py), for data in many sharp clusters.

    Examples as D sees them: rivals.py. D scores `pack` of them at once, so that a lack of variety shows, and weighs
    what it sees by the condition (projection). width, depth: as in `vae`. encoder: a network E that inverts G learns
    beside them, by |E(G(e)) - e|^2 / latent + |G(E(x)) - x|^2 / D, which moves neither G nor D; codes are then noise
    (`encode`, `reconstruct`, `interpolate`), and a row is strange where G cannot make it. Noise: `latent` normal
    numbers (64 for images, 16 for rows), then uniform ones for categories. augment: of images, the chance of each
    change (nn/augment.py) that D sees them under, real and generated; `auto` begins at 0 and moves it by .05 towards a
    gap of .3 (`attend`), `none` has none. Losses have no unit; `validate` is the sliced W1 distance of a batch and as
    many generated examples, one figure for all of them.

    Papers: Goodfellow et al. 2014, Generative Adversarial Nets; Huang, Gokaslan, Kuleshov, Tompkin 2024, The GAN is
    dead; long live the GAN (relativistic pairs, R1 + R2); Mescheder, Geiger, Nowozin 2018 (R1, R2); Gulrajani et al.
    2017, Improved Training of Wasserstein GANs; Miyato et al. 2018 (spectral norm); Miyato, Koyama 2018 (projection);
    Karras et al. 2020 (lazy penalties); Jang, Gu, Poole 2017 (Gumbel-Softmax); Lin, Khetan, Fanti, Oh 2018, PacGAN.

        >>> pofx.fit("adult.csv", model="gan")  # doctest: +SKIP
    """

    family = "gans"
    images = True
    sequenced: ClassVar[type[Model] | None] = SequenceGAN
    abilities = frozenset({"sample", "condition", "truncate", "posterior"})
    optional = dict.fromkeys(("encode", "express", "interpolate"), "encoder=True")

    def __init__(
        self,
        spec: Spec,
        objective: str = "relativistic",
        penalty: str = "r1+r2",
        weight: float | None = None,
        penalty_mode: str = "lazy",
        lazy: int = 4,
        critics: int = 1,
        pack: int = 2,
        latent: int | None = None,
        width: int = 128,
        depth: int = 1,
        encoder: bool = False,
        augment: str | float = "auto",
        anneal: float = 1.0,
        waves: int = 0,
    ) -> None:
        super().__init__(spec)
        for name, value, among in (
            ("objective", objective, tuple(GAMES)), ("penalty", penalty, tuple(WEIGHTS)),
            ("penalty_mode", penalty_mode, MODES),
        ):  # fmt: skip
            if value not in among:
                raise SpecError(f"expected {name} among {', '.join(among)}, got {value!r}")
        if penalty_mode == "finite-difference" and penalty not in SQUARES:
            raise SpecError(f"expected penalty among {', '.join(SQUARES)} for finite differences, got {penalty!r}")
        if weight is not None and not weight > 0:
            raise SpecError(f"expected a weight above 0, got {weight}: penalty='none' takes the penalty away")
        if not 0 <= anneal <= 1:
            raise SpecError(f"expected anneal from 0 to 1, got {anneal}: 1 keeps the weight as it is")
        latent = (LATENT_OF_IMAGES if spec.blocks[0].sites else LATENT_OF_ROWS) if latent is None else latent
        self.objective, self.penalty, self.mode = objective, penalty, penalty_mode
        self.weight = WEIGHTS[penalty] if weight is None else weight
        self.anneal = anneal
        self.lazy, self.critics, self.pack, self.latent = lazy, critics, pack, latent
        self.firm = 1.0  # how many times as strong as `weight` the penalty is
        self.ratios: list[float] = []  # of finite differences to exact penalties
        self.rivals = rivals_of(spec, self.sight_of_condition, latent, width, depth, pack, waves)
        self.inverter = self.rivals.inverter(latent, width, depth) if encoder else None
        if encoder:
            self.abilities = self.abilities | {"encode", "express", "interpolate"}
        if self.rivals.parts > 1:
            self.abilities = self.abilities - {"posterior"}
        self._begin(augment)
        if penalty == "spectral":
            for part in list(self.rivals.critic.modules()):
                if isinstance(part, nn.Linear | nn.Conv2d):
                    if not part.weight.any():
                        part.reset_parameters()  # a block that started as the identity has no largest singular value
                    nn.utils.parametrizations.spectral_norm(part)

    def _begin(self, augment: str | float) -> None:
        """The chance of a change, a buffer of models of images, saved and resumed with the weights."""
        begun = {"auto": 0.0, "none": 0.0}.get(augment, -1.0) if isinstance(augment, str) else augment
        if not 0 <= begun < 1:
            raise SpecError(f"expected augment as 'auto', 'none' or a number from 0 to below 1, got {augment!r}")
        if self.rivals.parts > 1 and begun:
            raise SpecError(f"expected images for augment={augment!r}, got rows: leave it at 'auto'")
        self.adaptive = augment == "auto" and self.rivals.parts == 1
        if self.rivals.parts == 1:
            self.register_buffer("chance", torch.tensor(float(begun)))

    def recipe(self, rows: int) -> Recipe:
        if self.rivals.parts == 1:  # images
            steps, batch, rate = min(5000, 1000 + rows // 12), 64, 2e-3
        else:
            steps, batch, rate = min(3000, 500 + rows // 8), 256, 3e-3
        return Recipe(steps, min(batch, max(rows, 1)), rate, decay=0.0, average=0.15, betas=(0.0, 0.99))

    def players(self) -> dict[str, list[nn.Parameter]]:
        more = {"encoder": list(self.inverter.parameters())} if self.inverter is not None else {}
        return self.rivals.players() | more

    @torch.no_grad()
    def start(self, batch: Batch) -> None:
        self.rivals.start(batch[: self.rivals.parts])

    def firmer(self, times: int) -> bool:
        self.firm = 4.0**times
        return self.penalty in SLOPES

    @property
    def room(self) -> int:
        return self.rivals.room

    @property
    def span(self) -> int:
        return self.together(DRAWN) if self.room else 0

    def prepare(self, x: Columns, c: Columns | None = None) -> Batch:
        own = self.rivals.prepare(x)
        return *own, *self.see_condition(c, len(own[0]))

    # -- the game ----------------------------------------------------------------------------------------------------

    def real(self, batch: Batch, generator: torch.Generator) -> Tensor:
        return self.rivals.real(batch[: self.rivals.parts], generator)

    def fake(self, n: int, condition: Batch, generator: torch.Generator) -> Tensor:
        """n generated examples, (n, *shape), differentiable."""
        e = torch.randn(n, self.latent, generator=generator, device=self.device, dtype=self.dtype)
        return self.rivals.fake(e, condition, generator)

    def whole(self, batch: Batch) -> Batch:
        """The batch, its first examples repeated until `pack` divides it."""
        n = len(batch[0])
        if n % self.pack == 0:
            return batch
        index = torch.arange(-(-n // self.pack) * self.pack, device=batch[0].device) % n
        return tuple(part[index] for part in batch)

    def seen(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Examples as D sees them in a step: changed by chance, and packed."""
        if self.rivals.parts == 1:
            x = augmented(x, self.chance, generator)
        return self.rivals.packed(x)

    def turns(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        batch = self.whole(batch)
        condition, n, game = batch[self.rivals.parts :], len(batch[0]), GAMES[self.objective]
        both = tuple(torch.cat([part, part]) for part in condition)

        def pair() -> tuple[Tensor, Tensor]:
            real, fake = self.real(batch, generator), self.fake(n, condition, generator)
            return self.seen(real, generator), self.seen(fake, generator)

        for _ in range(self.critics):
            with torch.no_grad():
                x, y = pair()
            real, fake = self.rivals.score(torch.cat([x, y]), both).chunk(2)
            yield "critic", game.critic(real, fake) + self.cost(x, y, condition, clock, generator)
            if self.penalty == "clip":
                self.clip()
        x, y = pair()
        with torch.no_grad():
            real = self.rivals.score(x, condition) if game.paired else x.new_zeros(len(x))
        yield "generator", game.generator(real, self.rivals.score(y, condition))
        if self.inverter is not None:
            yield "encoder", self._inverse(self.real(batch, generator), condition, generator)

    def invert(self, x: Tensor, condition: Batch) -> Tensor:
        """E(x), (B, latent); Unsupported without an encoder."""
        if self.inverter is None:
            raise self._cannot("encode")
        return self.inverter(x, self.rivals.context(*condition).detach())

    def _inverse(self, x: Tensor, condition: Batch, generator: torch.Generator) -> Tensor:
        """What the encoder minimises, (B,)."""
        e = torch.randn(len(x), self.latent, generator=generator, device=self.device, dtype=self.dtype)
        with torch.no_grad():
            y = self.rivals.mean(e, condition)
        near = (self.invert(y, condition) - e).square().mean(1)
        return near + (self.rivals.mean(self.invert(x, condition), condition) - x).flatten(1).square().mean(1)

    @torch.no_grad()
    def clip(self) -> None:
        """Keeps the critic's weights within +-weight."""
        for p in self.rivals.players()["critic"]:
            p.clamp_(-self.weight, self.weight)

    def weight_at(self, clock: Clock) -> float:
        """The penalty's weight: half a cosine from `weight`, as firm as the guard made it, down to `anneal` of it."""
        fall = 0.5 * (1 + math.cos(math.pi * min(clock.progress, 1.0)))
        return self.firm * self.weight * (self.anneal + (1 - self.anneal) * fall)

    def cost(self, x: Tensor, y: Tensor, condition: Batch, clock: Clock, generator: torch.Generator) -> Tensor | float:
        """The penalty of a step, (B / pack,), of slopes in the precision of the weights."""
        often = self.lazy if self.mode == "lazy" else 1
        if self.penalty not in SLOPES or clock.step % often:
            return 0.0
        held = [part for part in self.rivals.critic.modules() if getattr(part, "mixed", False)]
        mix(self.rivals.critic, False)
        try:
            return often * self.weight_at(clock) * self._penalty(x, y, condition, clock, generator)
        finally:
            for part in held:
                part.mixed = True

    def _penalty(self, x: Tensor, y: Tensor, condition: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        if self.penalty not in SQUARES:
            mixing = torch.rand(len(x), generator=generator, device=x.device, dtype=x.dtype)
            sides = 1 if self.penalty == "one-sided" else 2
            return gradient_penalty(lambda packs: self.rivals.score(packs, condition), x, y, mixing, sides)
        at = torch.cat([part for name, part in (("r1", x), ("r2", y)) if name in self.penalty])

        def score(packs: Tensor) -> Tensor:
            many = tuple(part.repeat(len(packs) // len(x), *[1] * (part.dim() - 1)) for part in condition)
            return self.rivals.score(packs, many)

        if self.mode != "finite-difference":
            return 0.5 * slope(score, at).view(-1, len(x)).sum(0)
        found = finite_slope(score, at, torch.randn(at.shape, generator=generator, device=x.device, dtype=x.dtype))
        if clock.step == FIRST or (clock.step and clock.step % COMPARED == 0):
            self._compare(found, slope(score, at))
        return 0.5 * found.view(-1, len(x)).sum(0)

    def _compare(self, found: Tensor, exact: Tensor) -> None:
        """Keeps the ratio of two penalties of a batch, and warns where they are far apart."""
        self.ratios.append(float(found.detach().mean() / exact.detach().mean().clamp(min=1e-12)))
        if abs(math.log(max(self.ratios[-1], 1e-12))) > math.log(APART):
            warnings.warn(
                f"the penalty by finite differences is {self.ratios[-1]:.2g} times the exact one: take "
                "penalty_mode='lazy'", stacklevel=2,
            )  # fmt: skip

    def remarks(self, x: Columns, c: Columns | None = None) -> dict[str, Any]:
        return {"finite differences": self.ratios[-1]} if self.ratios else {}

    def words(self, said: dict[str, Any]) -> str:
        ratio = said.get("finite differences")
        return "" if ratio is None else f"the last penalty by finite differences was {ratio:.2g} times the exact one"

    @torch.no_grad()
    def attend(self, train: Batch, valid: Batch | None, generator: torch.Generator) -> dict[str, float]:
        """What D says of training rows, of held-out ones and of generated ones (`critic_gap` of objectives.py).

        An adaptive chance goes up by .05 where the gap is above .3, down where it is below; without held-out rows it
        stays.
        """

        def told(batch: Batch, made: bool = False) -> Tensor:
            batch = self.whole(batch)
            condition = batch[self.rivals.parts :]
            x = self.fake(len(batch[0]), condition, generator) if made else self.real(batch, generator)
            return self.rivals.score(self.seen(x, generator), condition).double()

        heard = critic_gap(told(train), told(train, made=True), told(valid) if valid and len(valid[0]) else None)
        if self.adaptive and math.isfinite(heard["gap"]):
            self.chance.add_(math.copysign(STRIDE, heard["gap"] - TARGET)).clamp_(0, MOST)
        return heard

    @torch.no_grad()
    def altered(self, x: Columns, generator: torch.Generator) -> Columns | None:
        if not float(getattr(self, "chance", 0.0)):
            return None
        own = self.rivals.prepare(x)
        return self.rivals.shades(augmented(self.rivals.middle(own), ALTERED, generator))

    # -- what the contract asks --------------------------------------------------------------------------------------

    @torch.no_grad()
    def validate(self, batch: Batch, generator: torch.Generator) -> Tensor:
        x = self.real(batch, generator)
        y = self.fake(len(x), batch[self.rivals.parts :], generator)
        directions = torch.randn(x[0].numel(), DIRECTIONS, generator=generator, device=x.device, dtype=x.dtype)
        return sliced_distance(x.flatten(1), y.flatten(1), directions / directions.norm(dim=0)).expand(len(x))

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        how = {"generator": generator, "device": generator.device, "dtype": torch.float64}
        return torch.cat([torch.randn(n, self.latent, **how), torch.rand(n, self.rivals.draws, **how)], 1)

    def truncated(self, z: Tensor, psi: float) -> Tensor:
        """Noise z with its normal numbers times psi: draws nearer to the middle, likelier ones and less varied."""
        return torch.cat([psi * z[:, : self.latent], z[:, self.latent :]], 1)

    @torch.no_grad()
    def decode(
        self, z: Tensor, c: Columns | None = None, given: Given | None = None, known: Rows | None = None
    ) -> Columns:
        self.refuse(given, known)
        whole = (z.to(self.device), *self.see_condition(c, len(z)))
        parts = []
        for at in spans(len(z), self.span or max(len(z), 1)):
            own, *condition = (part[at] for part in whole)
            e, uniform = own.split([self.latent, self.rivals.draws], 1)
            parts.append(self.rivals.lower(e.to(self.dtype), tuple(condition), uniform))
        return {f.name: np.concatenate([part[f.name] for part in parts]) for f in self.spec.fields}

    # -- codes -------------------------------------------------------------------------------------------------------

    def _opened(self, x: Columns, c: Columns | None) -> Iterator[tuple[Tensor, Batch]]:
        """Examples at the middle of their cells, and their condition, in chunks."""
        for part in zip(*(tensor.split(CHUNK) for tensor in self.prepare(x, c)), strict=True):
            batch = tuple(tensor.to(self.device) for tensor in part)
            yield self.rivals.middle(batch[: self.rivals.parts]), batch[self.rivals.parts :]

    @torch.no_grad()
    def encode(self, x: Columns, c: Columns | None = None) -> Tensor:
        """E(x, c), (n, latent)."""
        codes = [self.invert(v, condition).cpu() for v, condition in self._opened(x, c)]
        return torch.cat([torch.zeros(0, self.latent), *codes])

    @property
    def code_size(self) -> int:
        return self.latent

    def picture(self, e: Tensor, c: Batch) -> Tensor:
        return self.rivals.picture(self.rivals.mean(e, c))

    @torch.no_grad()
    def express(self, z: Tensor, c: Columns | None = None) -> Columns:
        """The likeliest examples of noise z, (n, latent)."""
        return self.rivals.lower(z.to(self.device, self.dtype), self.see_condition(c, len(z)), None)

    @torch.no_grad()
    def misfit(self, x: Columns, c: Columns | None = None) -> np.ndarray:
        """|G(E(x)) - x|^2, (n,)."""
        off = [self.rivals.mean(self.invert(v, condition), condition) - v for v, condition in self._opened(x, c)]
        return np.concatenate([np.zeros(0), *(part.flatten(1).square().sum(1).double().cpu().numpy() for part in off)])


MODEL = GAN
