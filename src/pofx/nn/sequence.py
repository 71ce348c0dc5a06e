"""A transformer over tokens: what comes next after those before (causal), or at each site given all others."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from .mixed import Mixed

NEAR = 3  # sites to a side that are read at once, before any attention
KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
TURN = 10_000.0  # the longest wavelength of a rotation, over 2 pi


class Memory:
    """Keys and values of the tokens that a block has seen, (B, heads, T, width / heads) each."""

    def __init__(self) -> None:
        self.key: Tensor | None = None
        self.value: Tensor | None = None
        self.codes: Tensor | None = None

    def __len__(self) -> int:
        return 0 if self.key is None else self.key.shape[2]

    def recall(self, x: Tensor, most: int) -> tuple[Tensor, int]:
        """The last codes before these, at most so many, and these, (B, T); and how many came before."""
        old = x[:, :0] if self.codes is None else self.codes
        both = torch.cat([old, x], 1)
        self.codes = both[:, -most:]
        return both, old.shape[1]

    def see(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Those before and these."""
        if self.key is not None and self.value is not None:
            key, value = torch.cat([self.key, key], 2), torch.cat([self.value, value], 2)
        self.key, self.value = key, value
        return key, value


def rotated(x: Tensor, start: int = 0) -> Tensor:
    """Rotary positions: pairs (x_i, x_{i + d/2}) of (B, heads, T, d) turned by t TURN^(-2i/d), t from `start`.

    Products of turned queries and keys depend on the distance of their sites alone. Su et al. 2021, RoFormer.
    """
    half = x.shape[3] // 2
    rate = torch.exp(torch.arange(half, device=x.device, dtype=torch.float32) * (-math.log(TURN) / half))
    angle = torch.arange(start, start + x.shape[2], device=x.device, dtype=torch.float32)[:, None] * rate
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], 3)


def _attended(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
    """`F.scaled_dot_product_attention` as two products, which a CPU does faster in bfloat16 than in one kernel."""
    batch, heads, sites, _ = query.shape
    bias = query.new_zeros(1, sites, key.shape[2])
    if is_causal:
        bias = torch.full_like(bias, -torch.inf).triu(1)
    if mask is not None:
        bias = torch.where(mask, 0.0, -torch.inf).to(query.dtype).expand(batch, heads, sites, -1).flatten(0, 1)
    score = torch.baddbmm(bias, query.flatten(0, 1), key.flatten(0, 1).mT, alpha=query.shape[3] ** -0.5)
    return (score.softmax(2) @ value.flatten(0, 1)).unflatten(0, (batch, heads))


def _fused(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
    """`F.scaled_dot_product_attention`, but not by cuDNN, which plans anew for each length: sequences have many."""
    with sdpa_kernel(KERNELS):
        return F.scaled_dot_product_attention(query, key, value, mask, is_causal=is_causal)


class Block(nn.Module):
    """h + O attention(norm(h)), then h + B gelu(A norm(h)): (B, T, width) to the same, with rotary positions."""

    def __init__(self, width: int, heads: int, causal: bool, dropout: float) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.read, self.write = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        for layer, parts in ((self.read, 3), (self.write, 1), (self.up, 1), (self.down, 1)):
            layer.weight.orthogonal = parts  # of Muon
        self.drop = nn.Dropout(dropout)

    def forward(self, h: Tensor, memory: Memory | None = None, mask: Tensor | None = None) -> Tensor:
        query, key, value = self.read(self.norms[0](h)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        old = 0 if memory is None else len(memory)
        query, key = rotated(query, old), rotated(key, old)
        if memory is not None:
            key, value = memory.see(key, value)
        new = h.shape[1]
        if old and new > 1:
            mask = torch.ones(new, old + new, dtype=torch.bool, device=h.device).tril(old)
        causal = self.causal and not old and new > 1
        attend = _attended if h.device.type == "cpu" and query.dtype == torch.bfloat16 else _fused
        got = attend(query, key, value, mask, causal)
        h = h + self.drop(self.write(got.transpose(1, 2).flatten(2)))
        return h + self.drop(self.down(F.gelu(self.up(self.norms[1](h)))))


class Transformer(Mixed):
    """Logits of each site, (B, T, `out`), from codes (B, T) among `symbols`, and a vector of the condition, (B, C).

        h_t = sum_k E_k[x_{t-k}] + C c,  `depth` blocks of `heads` heads,  W norm(h_t)

    causal: site t sees sites 1..t alone, and k = 0..NEAR; else it sees all, and k = -NEAR..NEAR. W starts at zero:
    every symbol alike. Vaswani et al. 2017.
    """

    def __init__(
        self, symbols: int, out: int, width: int, heads: int, depth: int, causal: bool, context: int = 0,
        dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.causal, self.symbols = causal, symbols
        self.offsets = [k for k in range(-NEAR, NEAR + 1) if k >= 0 or not causal]
        self.embed = nn.Embedding(len(self.offsets) * symbols, width)
        nn.init.normal_(self.embed.weight, std=0.5 / math.sqrt(len(self.offsets)))
        self.aside = nn.Linear(context, width, bias=False) if context else None
        self.blocks = nn.ModuleList(Block(width, heads, causal, dropout) for _ in range(depth))
        for block in self.blocks:
            for last in (block.write, block.down):
                nn.init.normal_(last.weight, std=0.5 / math.sqrt(2 * depth * last.in_features))
        self.last = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, out))
        nn.init.zeros_(self.last[1].weight)
        nn.init.zeros_(self.last[1].bias)

    def forward(
        self, x: Tensor, c: Tensor | None = None, memories: list[Memory] | None = None, sizes: Tensor | None = None
    ) -> Tensor:
        """memories: of the tokens before these; sizes: how many of each row's sites are seen, (B,), by default all."""
        return super().forward(x, c, memories, sizes)

    def _near(self, x: Tensor, memory: Memory | None) -> Tensor:
        """sum_k E_k[x_{t-k}]: (B, T, width)."""
        old = 0
        if memory is not None:
            x, old = memory.recall(x, NEAR)
        h: Tensor | None = None
        for i, k in enumerate(self.offsets):
            size = x.shape[1]
            if abs(k) >= size:
                continue
            part = self.embed(x[:, max(-k, 0) : size - max(k, 0)] + i * self.symbols)
            part = F.pad(part, (0, 0, max(k, 0), max(-k, 0)))
            h = part if h is None else h + part
        return h[:, old:]  # type: ignore[index]

    def exact(
        self, x: Tensor, c: Tensor | None, memories: list[Memory] | None = None, sizes: Tensor | None = None
    ) -> Tensor:
        mask = None
        if sizes is not None:
            inside = torch.arange(x.shape[1], device=x.device) < sizes[:, None]
            x, mask = torch.where(inside, x, 0), inside[:, None, None]
        h = self._near(x, memories[0] if memories else None)
        if self.aside is not None and c is not None:
            h = h + self.aside(c)[:, None]
        for i, block in enumerate(self.blocks):
            h = block(h, memories[i] if memories else None, mask)
        return self.last(h)
