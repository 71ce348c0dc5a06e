"""Compilation by torch, one cache a function."""

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import torch

FIRST = 100  # calls in which something may be compiled


def isolated(function: Callable[..., Any], **words: Any) -> Callable[..., Any]:
    """torch.compile of one graph, in a cache of its own where torch can: many flows may be compiled in a process."""
    own = "isolate_recompiles" in inspect.signature(torch.compile).parameters
    graph = torch.compile(function, fullgraph=True, **words, **({"isolate_recompiles": True} if own else {}))
    calls = 0

    @functools.wraps(function)
    def called(*args: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > FIRST:
            return graph(*args, **more)
        with warnings.catch_warnings():  # the compiler asks results of an earlier graph for a gradient of their own
            warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf")
            return graph(*args, **more)

    return called
