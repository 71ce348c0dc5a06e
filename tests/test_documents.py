"""What the README says of the models is what the models say; files of released formats keep loading."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pofx
from pofx.models import load_class, names

ROOT = Path(__file__).parents[1]
COLUMNS = ("sample", "log_prob", "given", "known", "condition", "encode", "restore", "posterior")


def rows_of_the_readme() -> dict[str, list[str]]:
    section = (ROOT / "README.md").read_text().split("## What it can do")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {re.sub(r"[`]| \(default\)", "", row[0]): row[1:] for row in cells}


def test_the_readme_lists_every_model() -> None:
    assert set(rows_of_the_readme()) == set(names())


@pytest.mark.parametrize("name", names())
def test_the_readme_tells_what_a_model_can(name: str) -> None:
    family, *said = rows_of_the_readme()[name]
    cls = load_class(name)
    assert {"flow": "flows", "autoencoder": "autoencoders", "adversarial": "gans", "baseline": "baselines"}[
        family
    ] == cls.family
    assert [bool(cell) for cell in said] == [ability in cls.abilities | cls.optional.keys() for ability in COLUMNS]
    assert all(cls.optional[a].lower() in cell for a, cell in zip(COLUMNS, said, strict=True) if a in cls.optional)
    if "log_prob" in cls.abilities:
        assert said[1] == ("bound" if "bound" in cls.abilities else "exact")


@pytest.mark.parametrize("path", sorted((ROOT / "tests" / "golden").glob("*.pofx")), ids=lambda path: path.stem)
def test_a_file_of_a_released_format_loads(path: Path) -> None:
    model = pofx.load(path)
    drawn = model.sample(50, seed=0)
    assert drawn.columns.tolist() == ["city", "people", "area"]
    assert np.isfinite(model.log_prob(drawn)).all()


def test_there_is_a_file_of_each_released_format() -> None:
    from pofx.store import FORMAT

    held = {path.stem.split("-")[0] for path in (ROOT / "tests" / "golden").glob("*.pofx")}
    assert held == {f"format{number}" for number in range(1, FORMAT + 1)}


def test_the_documents_name_files_that_exist() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} names {target}"


def test_the_code_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first block, on made files of the names that it has, and a few steps in place of a minute."""
    code = (ROOT / "README.md").read_text().split("```python\n")[1].split("```")[0]
    short = code.replace("minutes=1", 'steps=20, size="small", quiet=True')
    assert short != code
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"sex": random.choice(["Female", "Male"], 150), "age": random.integers(17, 80, 150)})
    frame["income"] = np.where(frame["age"] + random.normal(0, 20, 150) > 50, "high", "low")
    monkeypatch.chdir(tmp_path)
    frame.to_csv("adult.csv", index=False)
    for name in ("new", "unseen"):
        frame.sample(60, random_state=1).to_csv(f"{name}.csv", index=False)
    frame.head(20).mask(random.random((20, 3)) < 0.2).to_csv("gaps.csv", index=False)
    exec(compile(short, "README.md", "exec"), {})
    assert all((tmp_path / made).stat().st_size for made in ("report.html", "model.html", "adult.pofx"))
