"""gan: a generator, and a critic that compares what it makes with data."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from ...errors import SpecError
from ...nn.mlp import MLP
from ...objectives import gradient_penalty, r1, r2, relativistic, sliced_distance, wasserstein
from ...spec import Columns, Given, Spec
from ..lifted import Context, Lifted, Reader, Sight, pick, to_normal
from ..model import Batch, Clock, Recipe, Rows

OBJECTIVES = {"relativistic": relativistic, "wasserstein": wasserstein}


class Generator(nn.Module):
    """Latent noise and condition to z of each number and logits of each category: (B, latent) to (B, F), (B, S)."""

    def __init__(self, latent: int, sight: Sight, condition: Sight, width: int, depth: int) -> None:
        super().__init__()
        self.context = Context(condition)
        self.sizes = [len(sight.numbers), sum(sight.sizes)]
        self.net = MLP(latent + self.context.width, sum(self.sizes), width, depth)

    def forward(self, latent: Tensor, condition: Batch) -> list[Tensor]:
        return self.net(torch.cat([latent, self.context(*condition)], -1)).split(self.sizes, -1)


class Critic(nn.Module):
    """The score of `pack` rows at once, (B / pack, pack (F + S)) to (B / pack,); no normalisation across rows."""

    def __init__(self, pack: int, sight: Sight, condition: Sight, width: int, depth: int) -> None:
        super().__init__()
        self.sizes = [len(sight.numbers), sum(sight.sizes)]
        self.context = Context(condition)
        self.reader = Reader(sight, width)
        self.net = MLP(pack * (width + self.context.width), 1, width, depth, norm=False)

    def forward(self, rows: Tensor, condition: Batch) -> Tensor:
        z, levels = rows.reshape(-1, sum(self.sizes)).split(self.sizes, -1)
        seen = torch.cat([self.reader(z, levels=levels), self.context(*condition)], -1)
        return self.net(seen.reshape(len(rows), -1)).squeeze(-1)


class GAN(Lifted):
    """G: noise to rows, D: rows to scores; at the balance G's rows have the law of the data.

    relativistic: D minimises E softplus(D(y) - D(x)) + gamma/2 E(|grad D(x)|^2 + |grad D(y)|^2), x real, y = G(e), and
    G minimises E softplus(D(x) - D(y)). wasserstein: D minimises E[D(y) - D(x)] + `penalty` E(|grad D| - 1)^2 between
    them, G minimises -E D(y).

    A row is (z, levels): z = Phi^-1(u) of each number, u dequantised anew in every step, and one-hot levels of each
    category, which G draws by Gumbel's rule and differentiates through the softmax (straight-through). D scores `pack`
    rows at once, so that a lack of variety shows. The penalties of `relativistic` act every `lazy` steps, `lazy` times.
    Noise: `latent` normal numbers, then one uniform for each category. Losses have no unit; `validate` is the sliced W1
    distance of a batch and as many generated rows, one figure for all of them.

    Paper: Huang, Gokaslan, Kuleshov, Tompkin 2024, The GAN is dead; long live the GAN (relativistic pairing, R1 + R2);
    Gulrajani et al. 2017, Improved Training of Wasserstein GANs; Jang, Gu, Poole 2017, Categorical Reparameterization
    with Gumbel-Softmax; Lin, Khetan, Fanti, Oh 2018, PacGAN.

        >>> pofx.fit("adult.csv", model="gan")  # doctest: +SKIP
    """

    family = "gans"
    abilities = frozenset({"sample", "condition"})

    def __init__(
        self,
        spec: Spec,
        objective: str = "relativistic",
        latent: int = 64,
        width: int = 128,
        depth: int = 1,
        pack: int = 2,
        gamma: float = 1.0,
        penalty: float = 10.0,
        lazy: int = 4,
        critics: int = 1,
        temperature: float = 0.5,
    ) -> None:
        super().__init__(spec)
        if objective not in OBJECTIVES:
            raise SpecError(f"expected objective among {', '.join(OBJECTIVES)}, got {objective!r}")
        self.objective, self.latent, self.pack = objective, latent, pack
        self.gamma, self.penalty, self.lazy = gamma, penalty, lazy
        self.critics, self.temperature = critics, temperature
        self.generator = Generator(latent, self.sight, self.sight_of_condition, width, depth)
        self.critic = Critic(pack, self.sight, self.sight_of_condition, width, depth)

    def recipe(self, rows: int) -> Recipe:
        steps = min(3000, 500 + rows // 8)
        return Recipe(steps, batch=min(256, max(rows, 1)), rate=1e-3, decay=0.0, average=0.15, betas=(0.0, 0.99))

    def players(self) -> dict[str, list[nn.Parameter]]:
        return {"critic": list(self.critic.parameters()), "generator": list(self.generator.parameters())}

    def start(self, batch: Batch) -> None:
        marginal = [torch.from_numpy(self.sight.fields[j].mass).log() for j in self.sight.groups]
        if marginal:
            with torch.no_grad():
                self.generator.net.bias[len(self.sight.numbers) :] = torch.cat(marginal).to(self.device)

    # -- rows as the critic sees them --------------------------------------------------------------------------------

    def real(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Data with fresh dequantisation, (B, F + S)."""
        lo, width, codes = batch[:3]
        u = torch.rand(lo.shape, generator=generator, device=lo.device, dtype=lo.dtype)
        return torch.cat([to_normal(lo + width * u).to(self.dtype), self.one_hot(codes)], 1)

    def one_hot(self, codes: Tensor) -> Tensor:
        """Codes (B, groups) to ones among zeros, (B, S); none where a level was never seen."""
        total = sum(self.sight.sizes)
        place = torch.where(codes < 0, total, codes + self.critic.reader.first)
        return torch.zeros(len(codes), total + 1, dtype=self.dtype, device=codes.device).scatter_(1, place, 1.0)[:, :-1]

    def fake(self, n: int, condition: Batch, generator: torch.Generator) -> Tensor:
        """Generated rows, (n, F + S), differentiable."""
        how = {"generator": generator, "device": self.device, "dtype": self.dtype}
        z, levels = self.generator(torch.randn(n, self.latent, **how), condition)
        uniform = torch.rand(levels.shape, **how).clamp(1e-6, 1 - 1e-6)
        noisy = (levels - torch.log(-torch.log(uniform))) / self.temperature
        if not self.sight.sizes:
            return z
        soft = [part.softmax(-1) for part in noisy.split(self.sight.sizes, -1)]
        hard = self.one_hot(torch.stack([part.argmax(-1) for part in soft], 1))
        soft = torch.cat(soft, 1)
        return torch.cat([z, hard + soft - soft.detach()], 1)

    def packed(self, batch: Batch) -> Batch:
        """The batch, its first rows repeated until `pack` divides it."""
        n = len(batch[0])
        if n % self.pack == 0:
            return batch
        index = torch.arange(-(-n // self.pack) * self.pack, device=batch[0].device) % n
        return tuple(part[index] for part in batch)

    # -- what the contract asks --------------------------------------------------------------------------------------

    def turns(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        batch = self.packed(batch)
        condition, n = batch[4:], len(batch[0])
        loss = OBJECTIVES[self.objective]

        def score(rows: Tensor) -> Tensor:
            return self.critic(rows, condition)

        for _ in range(self.critics):
            x = self.real(batch, generator).reshape(n // self.pack, -1)
            with torch.no_grad():
                y = self.fake(n, condition, generator).reshape(x.shape)
            yield "critic", loss(score(x), score(y)) + self.regular(score, x, y, clock, generator)
        x = self.real(batch, generator).reshape(n // self.pack, -1)
        y = self.fake(n, condition, generator).reshape(x.shape)
        yield "generator", loss(score(y), score(x))

    def regular(self, score: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, clock: Clock, generator: torch.Generator
                ) -> Tensor | float:  # fmt: skip
        """The penalty on the critic's slope, (B / pack,)."""
        if self.objective == "wasserstein":
            mix = torch.rand(len(x), generator=generator, device=x.device, dtype=x.dtype)
            return self.penalty * gradient_penalty(score, x, y, mix)
        if clock.step % self.lazy:
            return 0.0
        return self.lazy * self.gamma / 2 * (r1(score, x) + r2(score, y))

    @torch.no_grad()
    def validate(self, batch: Batch, generator: torch.Generator) -> Tensor:
        x = self.real(batch, generator)
        y = self.fake(len(x), batch[4:], generator)
        directions = torch.randn(x.shape[1], 128, generator=generator, device=x.device, dtype=x.dtype)
        return sliced_distance(x, y, directions / directions.norm(dim=0)).expand(len(x))

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        how = {"generator": generator, "device": generator.device, "dtype": torch.float64}
        return torch.cat([torch.randn(n, self.latent, **how), torch.rand(n, len(self.sight.groups), **how)], 1)

    @torch.no_grad()
    def decode(
        self, z: Tensor, c: Columns | None = None, given: Given | None = None, known: Rows | None = None
    ) -> Columns:
        self.refuse(given, known)
        latent, level = z.to(self.device).split([self.latent, len(self.sight.groups)], 1)
        numbers, levels = self.generator(latent.to(self.dtype), self.see_condition(c, len(z)))
        logits = levels.split(self.sight.sizes, -1) if self.sight.sizes else ()
        codes = [pick(part, level[:, j]) for j, part in enumerate(logits)]
        blank = torch.zeros(len(z), 0, dtype=torch.int64)
        return self.sight.lower(torch.special.ndtr(numbers.double()), torch.stack(codes, 1) if codes else blank)


MODEL = GAN
