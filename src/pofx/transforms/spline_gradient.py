"""The map of a spline with its gradient in closed form: fewer operations than autograd does, over long rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .spline import Spline

SOFT = 3.0  # logits of widths stay within +-SOFT


class Moved(torch.autograd.Function):
    """(x, theta, spline) -> (y, log dy/dx, and what the gradient needs), as Spline.call_and_ladj has it.

    With t = (u - x_k) / w_k, q = t (1 - t), N = s t^2 + d_k q, D = s + (d_k + d_{k+1} - 2 s) q and
    A = d_{k+1} t^2 + 2 s q + d_k (1 - t)^2, y = y_k + h_k N / D and log dy/dx = 2 log s + log A - 2 log D, whose
    derivatives by t, s, d_k and d_{k+1} are elementary. A knot is a sum of shares of the box, so that share j takes the
    gradients of the knots k for j < k, and of k + 1 for j <= k. A gradient that is to be differentiated again is that
    of the plain map.
    """

    @staticmethod
    def forward(x: Tensor, theta: Tensor, spline: Spline) -> tuple[Tensor, ...]:
        k, limits = spline.bins, _limits(spline, theta)
        x, told = x.T.contiguous(), theta.permute(1, 2, 0).contiguous()  # rows last: long runs of numbers of one kind
        logits = torch.tanh(told[: 2 * k].unflatten(0, (2, k)) / limits)
        grown = (logits * limits).exp_()
        total = grown[0].sum(0)
        shares = torch.empty_like(grown)
        width, height = shares.unbind(0)
        torch.mul(grown[0], (1 - k * spline.floor) / total, out=width).add_(spline.floor)
        torch.mul(width, grown[1], out=height)
        full = height.sum(0)
        height.div_(full)
        knots = shares.new_empty(2, k + 1, *x.shape)
        knots[:, 0], knots[:, k] = -spline.bound, spline.bound
        for j in range(k - 1):
            torch.add(knots[:, j], shares[:, j], alpha=2 * spline.bound, out=knots[:, j + 1])
        inside, u = spline._boxed(x)
        at = (u >= knots[0, 1:-1]).sum(0)
        ends = torch.stack([at, at + 1])
        (x0, x1), (y0, y1) = knots.gather(1, ends.expand(2, -1, -1, -1))
        steep = 2 * spline.steep
        bent = torch.tanh(spline.raw_slopes(told[2 * k :]).gather(0, ends) / steep)
        d0, d1 = (bent * steep).exp_()
        w, h = x1 - x0, y1 - y0
        s, t = h / w, ((u - x0) / w).clamp_(0.0, 1.0)
        q = t - t * t
        below = torch.addcmul(s, d0 + d1 - 2 * s, q)
        risen = (s * t).mul_(t).addcmul_(d0, q)
        above = (d1 * t).mul_(t).addcmul_(s, q, value=2).addcmul_(d0, (1 - t).square_())
        y = torch.addcdiv(y0, h * risen, below)
        ladj = (s * s * above).div_(below).div_(below).log_()
        y, ladj = torch.where(inside, spline._held(y), x).T, torch.where(inside, ladj, 0.0).T
        return y, ladj, inside, at, logits, grown, total, shares, full, bent, w, h, s, t, q, d0, d1, below, risen, above

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        x, theta, ctx.spline = inputs
        ctx.mark_non_differentiable(*output[2:])
        ctx.save_for_backward(x, theta, *output[2:])

    @staticmethod
    def backward(ctx: Any, gy: Tensor, gl: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, None]:
        spline: Spline = ctx.spline
        x, theta, inside, at, logits, grown, total, shares, full, bent, w, h, s, t, q, d0, d1, below, risen, above = (
            ctx.saved_tensors
        )
        if torch.is_grad_enabled():
            _, pull = torch.func.vjp(spline.plain_call_and_ladj, x, theta)
            return *pull((gy, gl)), None
        k, gy = spline.bins, gy.T
        own, log = torch.where(inside, gy, 0.0), torch.where(inside, gl.T, 0.0)
        rise = own * h / (below * below)
        by_a, by_d = log / above, 2 * log / below
        left = 1 - t
        # by t, s and the slopes
        turned, flat, tt = by_d * (d0 + d1 - 2 * s), left - t, t * t
        gt = rise * s * above + by_a * (2 * (d1 * t + s * flat - d0 * left)) - turned * flat
        gs = rise * (tt * below - risen * (1 - 2 * q)) + 2 * by_a * q - by_d * (1 - 2 * q) + 2 * log / s
        gd = q * rise
        gd0 = gd * (below - risen) + by_a * left * left - by_d * q
        gd1 = by_a * tt - gd * risen - by_d * q
        # by the places of the bin; the last knot is fixed
        gu, gs = gt / w, gs / w
        gw, gh = -(gu * t + gs * s), own * risen / below + gs
        after = torch.where(at < k - 1, torch.stack([gw, gh]), 0.0) * (2 * spline.bound)
        before = torch.stack([-gu - gw, own - gh]) * (2 * spline.bound) + after
        places = torch.arange(k + 1, device=x.device)[:, None, None]
        here = places == at
        gshare = torch.where(here[:k], after[:, None], torch.where(places[:k] < at, before[:, None], 0.0))
        # by the logits: heights first, which are made of widths
        (width, height), (gwidth, gheight) = shares, gshare
        graw = (gheight - (gheight * height).sum(0)) / full
        gwidth = gwidth + graw * grown[1]
        share = grown[0] / total
        gwidth = (gwidth - (gwidth * share).sum(0)) * share * (1 - k * spline.floor)
        glogits = torch.stack([gwidth, graw * width * grown[1]]) * (1 - logits * logits)
        # by the numbers of the slopes
        gbent = torch.stack([gd0 * d0, gd1 * d1]) * (1 - bent * bent)
        ge = torch.where(here, gbent[0], 0.0)
        ge = torch.cat([ge[:1], torch.where(here[:k], gbent[1], ge[1:])])
        if spline.ends == "linear":
            ge = ge[1:-1]
        elif spline.ends == "circular":
            ge = torch.cat([ge[:1] + ge[k:], ge[1:k]])
        return torch.where(inside, gu, gy).T, torch.cat([*glogits, ge]).permute(2, 0, 1), None

    @staticmethod
    def vmap(info: Any, dims: tuple[int | None, ...], x: Tensor, theta: Tensor, spline: Spline) -> tuple[Any, Any]:
        many = [
            (v if d is None else v.movedim(d, 0)).expand(info.batch_size, *v.shape[-n:]).flatten(0, 1)
            for v, d, n in ((x, dims[0], 2), (theta, dims[1], 3))
        ]
        out = Moved.apply(*many, spline)
        rows = [0, 0, *(v.ndim - 1 for v in out[2:])]
        return tuple(v.unflatten(i, (info.batch_size, -1)) for v, i in zip(out, rows, strict=True)), tuple(rows)


def _limits(spline: Spline, like: Tensor) -> Tensor:
    """The limits of the logits of widths and of heights, (2, 1, 1, 1)."""
    return torch.tensor([SOFT, spline.steep], dtype=like.dtype, device=like.device)[:, None, None, None]
