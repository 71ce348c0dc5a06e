"""autoregressive: fields one after the other in one stored order; the fast one."""

from typing import ClassVar

from ..model import Model
from ..musical import Musical
from ..sequential import Sequential
from .any_order import AnyOrder


class Autoregressive(AnyOrder):
    """any_order that learns its stored order alone: a masked autoregressive network over tokens.

        log p(x) = sum_i log p(x_{o(i)} | x_{o(1)}, ..., x_{o(i-1)}), fields of few tokens first

    All of the training goes into one order, so that it needs less of it, and cannot take conditions or fill cells.
    Shapes, units and noise are those of any_order. Germain et al. 2015, MADE: Masked Autoencoder for Distribution
    Estimation. Of text it is a causal transformer (models/sequential.py), of music one
    that sees chords (models/musical.py).
    """

    abilities = frozenset({"sample", "log_prob", "cells", "condition", "unknown", "orders"})
    others = 0
    sequenced: ClassVar[type[Model] | None] = Sequential
    musical = Musical
    voiced = None


MODEL = Autoregressive
