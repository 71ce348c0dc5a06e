"""Compilation by torch, one cache a function."""

import inspect
from collections.abc import Callable
from typing import Any

import torch


def mode_of(device: torch.device) -> str | None:
    """What torch.compile does for a device: on CUDA it captures a graph, replayed by one call; None: its default."""
    return "reduce-overhead" if device.type == "cuda" else None


def isolated(function: Callable[..., Any], **words: Any) -> Callable[..., Any]:
    """torch.compile of one graph, in a cache of its own where torch can: many flows may be compiled in a process."""
    own = "isolate_recompiles" in inspect.signature(torch.compile).parameters
    return torch.compile(function, fullgraph=True, **words, **({"isolate_recompiles": True} if own else {}))
