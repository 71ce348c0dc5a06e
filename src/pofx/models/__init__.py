"""Models by name: the file name is the name on the command line, and the registry.

`names()` lists the files of the families; `create(name, spec)` builds the class in that file.
"""

import inspect
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, get_origin

from ..errors import SpecError

if TYPE_CHECKING:
    from ..spec import Spec
    from .model import Model

SIZES = {"small": 0.5, "base": 1.0, "large": 2.0}  # times the width that a model has by default
FAMILIES = ("flows", "autoencoders", "gans", "baselines")
RESTORERS = "restorers"  # models of x given a spoiled x: no law of x


@cache
def _files() -> dict[str, str]:
    here = Path(__file__).parent
    return {
        path.stem: family
        for family in (*FAMILIES, RESTORERS)
        for path in sorted((here / family).glob("[!_]*.py"))
        if (here / family).is_dir()
    }


def names(family: str | None = None) -> list[str]:
    """The names of all models that learn p(x), or of one family's."""
    return [name for name, home in _files().items() if (home in FAMILIES if family is None else home == family)]


def load_class(name: str) -> "type[Model]":
    """The class of a model's name; SpecError lists the names there are."""
    if name not in _files():
        raise SpecError(f"expected a model among {', '.join(names())}, got {name!r}: see `pofx models`")
    module = import_module(f".{_files()[name]}.{name}", __name__)
    return module.MODEL


def sized(name: str, size: Any) -> dict[str, Any]:
    """What small, base or large means for a model: its own `size`, or SIZES times its width.

    Raises SpecError for another word, and for a model without a width, naming what it has.
    """
    arguments = {k: v.default for k, v in inspect.signature(load_class(name).__init__).parameters.items()}
    if not isinstance(size, str) or isinstance(arguments.get("size"), str):
        return {"size": size}
    if size not in SIZES:
        raise SpecError(f"expected a size among {', '.join(SIZES)}, got {size!r}")
    if "width" not in arguments:
        known = ", ".join(k for k in arguments if k not in ("self", "spec")) or "no argument"
        raise SpecError(f"model {name!r} has no width for size={size!r}: leave it out; the model has {known} (--set)")
    return {"width": int(SIZES[size] * arguments["width"])}


def create(name: str, spec: "Spec", seed: int = 0, **config: Any) -> "Model":
    """A new model: its layers are initialised under `seed`, and the global random state is left as it was.

    Raises SpecError for an argument that the model does not have, or cannot take.
    """
    import torch

    cls = _of_kind(name, spec)
    signature = inspect.signature(cls.__init__)
    extra = set(config) - set(signature.parameters)
    if extra:
        known = [k for k in signature.parameters if k not in ("self", "spec")]
        raise SpecError(f"model {name!r} has no argument {', '.join(sorted(extra))}: it has {', '.join(known)}")
    _check(name, signature, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = cls(spec, **config)
        except (TypeError, ValueError, ArithmeticError, LookupError, RuntimeError, AssertionError) as error:
            words = ", ".join(f"{k}={v!r}" for k, v in config.items())
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise SpecError(f"model {name!r} cannot be made with {words or 'its defaults'}: {reason}") from error
    bound = signature.bind(None, spec, **config)
    bound.apply_defaults()
    model.config = {k: v for k, v in bound.arguments.items() if k not in ("self", "spec")}
    model.name = name
    return model


def _of_kind(name: str, spec: "Spec") -> "type[Model]":
    """The class of a name that learns such examples; SpecError names the models that do where it does not."""
    cls, sites = load_class(name), max(len(block.sites) for block in spec.blocks)
    if sites == 0:
        return cls
    if any(field.kind == "level" for field in spec.fields):
        if cls.sounded is None:
            able = ", ".join(other for other in names() if load_class(other).sounded)
            raise SpecError(f"model {name!r} does not learn sounds: these do: {able}")
        return cls.sounded
    if sites == 1:
        if cls.sequenced is None:
            able = ", ".join(other for other in names() if load_class(other).sequenced)
            raise SpecError(f"model {name!r} does not learn text or music: these do: {able}")
        if spec.fields[0].kind == "voice":
            if cls.voiced is None:
                able = ", ".join(other for other in names() if load_class(other).voiced)
                raise SpecError(f"model {name!r} does not learn music in voices: these do: {able}")
            return cls.voiced
        if spec.fields[0].kind != "note":
            return cls.sequenced
        if cls.musical is None:
            able = ", ".join(other for other in names() if load_class(other).musical)
            raise SpecError(f"model {name!r} does not learn music: these do: {able}")
        return cls.musical
    if not cls.images:
        able = ", ".join(other for other in names() if load_class(other).images)
        raise SpecError(f"model {name!r} learns rows of tables, got images: these learn both: {able}")
    return cls.pictured or cls


ZERO = ("waves", "depth", "decoder_depth", "transpose")  # may be none, as what is none by default
NUMBERS = {int: Integral, float: Real}


def _check(name: str, signature: inspect.Signature, config: Mapping[str, Any]) -> None:
    """Raises SpecError for an argument of another type than the model's, or for a count below its least."""
    for word, value in config.items():
        own = signature.parameters[word]
        union = own.annotation.__args__ if isinstance(own.annotation, UnionType) else (own.annotation,)
        kinds = [get_origin(kind) or kind for kind in union]
        fits = isinstance(value, tuple(NUMBERS.get(kind, kind) for kind in kinds))
        if not fits or (type(value) is bool and bool not in kinds):
            words = " or ".join("None" if kind is NoneType else kind.__name__ for kind in kinds)
            raise SpecError(f"model {name!r}: expected {word} of type {words}, got {value!r}")
        least = 0 if word in ZERO or own.default == 0 else 1
        if int in kinds and isinstance(value, Integral) and value < least:
            raise SpecError(f"model {name!r}: expected {word} of at least {least}, got {value}")
