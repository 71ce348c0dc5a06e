"""Constraints that the rows suggest."""

from collections.abc import Mapping, Sequence

from ..spec import Columns
from .columns import ColumnPlan
from .rules import Rule


def look_for(plans: Mapping[str, ColumnPlan], x: Columns, given: Sequence[Rule], condition: set[str]) -> list[Rule]:
    """The rules that hold in every row and are no accident."""
    return []
