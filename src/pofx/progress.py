"""Progress of long work, with the time left, on a terminal or in a notebook; silent when asked."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Tick = Callable[..., None]
"""tick(done=1, note="", total=None): so many more units are done, of another total than was said, if so."""


def silent(done: int = 1, note: str = "", total: int | None = None) -> None:
    """A Tick that shows nothing."""


def say(words: str, quiet: bool = False) -> None:
    """A sentence beside the bars, if there is one."""
    import sys

    if words and not quiet:
        print(words, file=sys.stderr)


@contextmanager
def bar(stage: str, total: int | None, unit: str = "step", quiet: bool = False) -> Iterator[Tick]:
    """A progress bar named by its stage, with the time left; work under a second shows none, `quiet` silences it."""
    if quiet:
        yield silent
        return
    import sys

    from tqdm.auto import tqdm

    with tqdm(
        total=total, desc=stage, unit=unit, unit_scale=unit == "row", mininterval=0.5, file=sys.stderr, delay=1.0
    ) as shown:

        def tick(done: int = 1, note: str = "", total: int | None = None) -> None:
            shown.total = shown.total if total is None else total
            if note:
                shown.set_postfix_str(note, refresh=False)
            shown.update(done)

        yield tick
