"""Which tensor is no number, by its name."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..models.model import Model

if TYPE_CHECKING:
    from .loop import Player


def culprit(model: Model, players: "Mapping[str, Player]", player: str, loss: Tensor) -> str:
    """What is no number in a player's step: what `spoiled` finds, else its loss, or the gradient nearest to that."""
    if found := spoiled(model, players):
        return found
    if not math.isfinite(float(loss.detach())):
        return f"the loss of {player!r}"
    own = {id(p) for p in players[player].parameters}
    named = [(name, p.grad) for name, p in model.named_parameters() if id(p) in own and p.grad is not None]
    lost = [name for name, gradient in named if not torch.isfinite(gradient).all()]
    return f"the gradient of {lost[-1]!r}" if lost else f"the norm of the gradient of {player!r}"


def spoiled(model: Model, players: "Mapping[str, Player]") -> str:
    """The first of what a step starts from that is no number, or nothing: moments before the weights that they move,
    and those before their averages.
    """
    names = {id(p): name for name, p in model.named_parameters()}
    for what in ("a moment", "the weights", "the average"):
        for player in players.values():
            held: dict[str, list[list[Tensor]]] = {
                "a moment": [player.optimiser.means, player.optimiser.squares],
                "the weights": [list(player.parameters)], "the average": [player.mean],
            }  # fmt: skip
            for tensors in held[what]:
                for p, t in zip(player.parameters, tensors, strict=True):
                    if not torch.isfinite(t).all():
                        return f"{what} of {names.get(id(p), 'a parameter')!r}"
    return ""
