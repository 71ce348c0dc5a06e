"""The general models that `pofx denoise` and `pofx upscale` take where none is given.

    python recipes/general_restorers.py PHOTOS

PHOTOS is a folder of clean photos of good quality that may be used for it: those that come with pofx were learned from
the 24 photos of the Kodak Lossless True Color suite, which Eastman Kodak released for unrestricted use.
"""

import argparse
from pathlib import Path

import pofx

WEIGHTS = Path(__file__).parents[1] / "src" / "pofx" / "weights"
TASKS = {  # some 150,000 numbers each, and as many for realism
    # a third of pieces with the marks of JPEG
    "denoise": {"noisy": False, "width": 16, "depth": 2, "jpeg": 0.3, "steps": 10_000},
    "upscale": {"width": 32, "depth": 7, "video": True, "steps": 11_000},
}


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("photos", help="a folder of clean photos")
    ask.add_argument(
        "--steps", type=int, help="of each task, 7 parts of them for the least error, 3 for realism, 1 for videos"
    )
    ask.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    ask.add_argument("--threads", type=int, default=1)
    told = ask.parse_args()
    for task in told.tasks:
        words = TASKS[task] | ({} if told.steps is None else {"steps": told.steps})
        model = pofx.fit(told.photos, task=task, threads=told.threads, **words)
        model.provenance |= {"source": "24 photos of the Kodak suite", "path": None}
        model.save(WEIGHTS / f"{task}.pofx")
        print(model.info())


if __name__ == "__main__":
    main()
