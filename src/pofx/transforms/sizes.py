"""Whether sizes are whole numbers that make sense, said in words before torch is asked."""

from collections.abc import Sequence
from numbers import Integral

from ..errors import SpecError


def sizes(least: int = 1, **values: int | Sequence[int]) -> None:
    """Raises SpecError for a size that is no whole number of at least `least`, and for `hidden` widths of which one is.

    >>> sizes(features=3, hidden=(16, 16))
    """
    for name, value in values.items():
        if name == "hidden" and not isinstance(value, Sequence):
            raise SpecError(f"expected hidden as a sequence of widths, got {value!r}: give one such as (128, 128)")
        for one in value if isinstance(value, Sequence) else (value,):
            if not isinstance(one, Integral):
                raise SpecError(f"expected {name} as a whole number, got {one!r}")
            if one < least:
                raise SpecError(f"expected {name} of at least {least}, got {one}")
