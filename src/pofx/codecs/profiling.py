"""What a codec of tables found, in words for a terminal."""

from collections.abc import Sequence

from .columns import ColumnPlan
from .constraints import Held
from .dependencies import Dependency


def profile_of(plans: Sequence[ColumnPlan], rows: int, dependencies: Sequence[Dependency], held: Held) -> str:
    """How each column is read and why; then the dependencies and constraints that hold."""
    lines = [("column", "read as", "missing", "examples", "why")]
    for plan in plans:
        shown = ", ".join(_short(text, 14) for text in plan.examples[:3])
        lines.append((_short(plan.name, 28), plan.how, f"{plan.share:.1%}" if plan.share else "", shown, plan.why))
    widths = [max(len(line[i]) for line in lines) for i in range(4)]
    out = [
        "  ".join([*(cell.ljust(w) for cell, w in zip(line, widths, strict=False)), line[4]]).rstrip() for line in lines
    ]
    out.insert(1, "-" * min(max(map(len, out)), 120))
    rules = [f"  {rule.source} -> {rule.target} ({len(rule.values)} values)" for rule in dependencies]
    words = ["", "dependencies, kept by construction:", *rules] if rules else []
    words += ["", *held.lines()] if held.rules else []
    return "\n".join([f"{rows:,} rows, {len(plans):,} columns", "", *out, *words])


def _short(text: str, width: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"
