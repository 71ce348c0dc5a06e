"""What benchmarks share: the peak of a process, and what is written beside the rows, whole or not at all."""

import argparse
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any


def versions(packages: Sequence[str]) -> dict[str, str]:
    """The installed versions of what the figures depend on."""
    return {found.name: found.version for name in packages for found in distributions(name=name)}


def machine() -> dict[str, Any]:
    """The machine in words: no names of hosts or users."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30 if hasattr(os, "sysconf") else None
    return {"processor": names[0] if names else platform.processor(), "cores": os.cpu_count(),
            "memory_gib": pages and round(pages), "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version()} | _card()  # fmt: skip


def _card() -> dict[str, str]:
    """The graphics card that torch was used on, if it was."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    return {"card": cuda.get_device_name()} if cuda is not None and cuda.is_initialized() else {}


def peak_mib() -> float:
    """The peak memory of this process, MiB. What getrusage says begins with the parent's, where that was larger."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes where there is no /proc
    return next(float(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024


def spent(device: str = "cpu") -> float:
    """Seconds of work: of this process; where a GPU works, of the clock, once it has done what it was told."""
    if device == "cpu":
        return time.process_time()
    sys.modules["torch"].cuda.synchronize()
    return time.perf_counter()


def asking(
    page: str | None,
    out: Path,
    gpu: bool = False,
    data: Sequence[str] = ("mnist", "fashion_mnist"),
    seeds: Sequence[int] = (0, 1, 2),
) -> argparse.ArgumentParser:
    """The options that benchmarks share; gpu: of those that a GPU can run too; data and seeds: their defaults, where
    there are any.
    """
    ask = argparse.ArgumentParser(description=page, formatter_class=argparse.RawDescriptionHelpFormatter)
    if data:
        ask.add_argument("--data", nargs="+", default=list(data))
    if seeds:
        ask.add_argument("--seeds", nargs="+", type=int, default=list(seeds))
    ask.add_argument("--threads", type=int, default=1)
    if gpu:
        ask.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="minutes of a GPU are the clock's")
    ask.add_argument("--resume-from", type=Path, help="a JSON of an earlier run, whose rows are kept")
    ask.add_argument("--out", type=Path, default=out)
    return ask


def keep(path: Path, rows: list[dict[str, Any]], packages: Sequence[str], threads: int) -> None:
    """Writes the rows as JSON."""
    record = {
        "command": f"python benchmarks/{Path(sys.argv[0]).name} " + " ".join(sys.argv[1:]),
        "machine": machine(),
        "versions": versions(packages),
        "threads": threads,
        "rows": rows,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(record, indent=1))
    part.replace(path)


def measure(
    told: argparse.Namespace,
    names: Sequence[str],
    jobs: Iterable[tuple[Any, ...]],
    run: Callable[..., dict[str, Any]],
    printed: Callable[[list[dict[str, Any]]], str],
    packages: Sequence[str],
) -> None:
    """A row for each job that told.resume_from has not, kept as they come; then the table, in told.out's place too.

    A job is what run is called with, and what a row has under `names`.
    """
    rows: list[dict[str, Any]] = json.loads(told.resume_from.read_text())["rows"] if told.resume_from else []
    there = {tuple(row[name] for name in names) for row in rows}
    for job in jobs:
        if job in there:
            continue
        rows.append(run(*job))
        print(json.dumps(rows[-1]), flush=True)
        keep(told.out, rows, packages, told.threads)
    text = printed(rows)
    told.out.with_suffix(".md").write_text(text + "\n")
    print(text)
