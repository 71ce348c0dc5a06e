"""pofx learns p(x) from data and uses it: sample it, score it, complete it, judge it.

import pofx

model = pofx.fit("adult.csv", minutes=1)
model.sample(1000, given={"sex": "Female"})
model.log_prob("adult.csv")
model.save("adult.pofx")
"""

from typing import TYPE_CHECKING, Any

from .errors import BadFile, CodecError, PofxError, SpecError, Unsupported
from .version import __version__

if TYPE_CHECKING:
    from .bundle import Fitted, load
    from .checkup import doctor
    from .codecs.conditions import Between, between
    from .codecs.places import Place
    from .judging import judge
    from .learn import fit
    from .polish import polish

__all__ = [
    "BadFile", "Between", "CodecError", "Fitted", "Place", "PofxError", "SpecError", "Unsupported", "__version__",
    "between", "doctor", "fit", "flows", "judge", "load", "models", "polish",
]  # fmt: skip

_LAZY = {
    "doctor": ("checkup", "doctor"),
    "fit": ("learn", "fit"),
    "load": ("bundle", "load"),
    "Fitted": ("bundle", "Fitted"),
    "between": ("codecs.conditions", "between"),
    "Between": ("codecs.conditions", "Between"),
    "Place": ("codecs.places", "Place"),
    "judge": ("judging", "judge"),
    "models": ("models", None),
    "polish": ("polish", "polish"),
    "flows": ("nn.flows", None),
}


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used, so that `import pofx` stays light."""
    if name not in _LAZY:
        raise AttributeError(f"module 'pofx' has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _LAZY[name]
    found = import_module(f".{module}", __name__)
    found = getattr(found, attribute) if attribute else found
    globals()[name] = found
    return found
