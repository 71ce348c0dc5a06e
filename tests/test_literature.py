"""The readers of the literature's files, on made files of the same format; the recipe trains on one of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import literature

random = np.random.default_rng(0)


def write(path: Path, header: str, rows: np.ndarray, delimiter: str, end: str = "") -> None:
    lines = [delimiter.join(f"{v:.6f}" for v in row) + end for row in rows]
    path.write_text("\n".join([header, *lines]) + "\n", encoding="ascii")


def made_power(folder: Path) -> None:
    lines = ["Date;Time;Global_active_power;Global_reactive_power;Voltage;Global_intensity;Sub_1;Sub_2;Sub_3"]
    for i in range(200):
        cells = ["?"] * 6 + [""] if i % 50 == 7 else [f"{random.random():.3f}" for _ in range(7)]
        lines.append(";".join(["16/12/2006", f"{i % 24:02d}:{i % 60:02d}:00", *cells]))
    (folder / "household_power_consumption.txt").write_text("\n".join(lines) + "\n")


def made_gas(folder: Path) -> None:
    own = random.normal(size=(400, 8))
    x = np.hstack([random.random((400, 3)), np.repeat(own, 2, 1) + 0.01 * random.normal(size=(400, 16))])
    write(folder / "ethylene_CO.txt", "Time (seconds), CO conc (ppm), Ethylene conc (ppm), sensor readings", x, " ")


def made_hepmass(folder: Path) -> None:
    for part, end in (("train", ""), ("test", ",1000.0")):
        x = random.normal(size=(200, 28))
        x[:, 0] = np.arange(200) % 2
        x[:, 20:26] = np.round(np.abs(x[:, 20:26]))
        write(folder / f"1000_{part}.csv", "# label,f0,f1", x, ",", end)


def made_miniboone(folder: Path) -> None:
    x = random.normal(size=(150, 50))
    x[:, 3] = np.maximum(x[:, 3], 0)
    x[5] = -999.0
    write(folder / "MiniBooNE_PID.txt", " 100 50", x, " ")


def made_bsds300(folder: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "BSDS300.hdf5", "w") as file:
        for part, rows in (("train", 80), ("validation", 10), ("test", 10)):
            x = random.normal(size=(rows, 63))
            file[part] = (x - x.mean(0)) / x.std(0)


CASES = [
    ("power", made_power, 196, 6),
    ("gas", made_gas, 100, 8),
    ("hepmass", made_hepmass, 200, 21),
    ("miniboone", made_miniboone, 99, 49),
    ("bsds300", made_bsds300, 100, 63),
]


@pytest.mark.parametrize(("name", "make", "rows", "columns"), CASES)
def test_a_made_file_of_the_format_is_read(name: str, make: object, rows: int, columns: int, tmp_path: Path) -> None:
    make(tmp_path)
    train, valid, test = literature.SETTINGS[name].read(tmp_path)
    assert len(train) + len(valid) + len(test) == rows
    assert {part.shape[1] for part in (train, valid, test)} == {columns}
    both = np.vstack([train, valid])
    np.testing.assert_allclose(both.mean(0), 0, atol=0.4 if name == "gas" else 1e-6)
    np.testing.assert_allclose(both.std(0), 1, atol=0.3 if name == "gas" else 1e-2)
    again = literature.SETTINGS[name].read(tmp_path)
    assert all(np.array_equal(a, b) for a, b in zip((train, valid, test), again, strict=True))


def test_the_recipe_trains_and_prints_its_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_miniboone(tmp_path)
    literature.main(["miniboone", "--files", str(tmp_path), "--steps", "3"])
    out = capsys.readouterr().out
    assert "81 + 9 + 9 rows of 49 numbers" in out and "published for RQ-NSF (C): -9.67" in out


def test_the_spline_of_what_a_coupling_keeps_moves_that_alone_and_back() -> None:
    torch.manual_seed(0)
    layer = literature.Kept(torch.tensor([True, False, True]), literature.Spline(4, 3.0)).double()
    nn.init.normal_(layer.theta)
    x = 2 * torch.randn(50, 3, dtype=torch.float64)
    y, ladj = layer.call_and_ladj(x)
    back, undone = layer.inverse_and_ladj(y)
    assert torch.equal(y[:, 1], x[:, 1]) and not torch.allclose(y[:, 0], x[:, 0])
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(ladj + undone, torch.zeros(50, dtype=torch.float64))
    jacobian = torch.autograd.functional.jacobian(lambda row: layer.call_and_ladj(row[None])[0][0], x[0])
    torch.testing.assert_close(ladj[0], torch.linalg.slogdet(jacobian)[1])


def test_bsds300_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(SystemExit, match="pip install h5py"):
        literature.bsds300(tmp_path)


def test_all_sets_that_are_there_stand_beside_what_was_published(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        literature.main(["power", "--files", str(tmp_path)])
    assert "expected household_power_consumption.txt in" in capsys.readouterr().err
    made_miniboone(tmp_path)
    (tmp_path / "1000_train.csv").touch()
    literature.main(["all", "--files", str(tmp_path), "--steps", "2"])
    out = capsys.readouterr().out
    assert "hepmass: left out, 1000_test.csv not found" in out
    assert "| RQ-NSF (C) | 0.64 | 13.09 | -14.75 | -9.67 | 157.54 |" in out
    assert all(
        setting.published == published
        for setting, published in zip(literature.SETTINGS.values(), literature.PUBLISHED["RQ-NSF (C)"], strict=True)
    )
    own = out.strip().splitlines()[-1].split(" | ")
    assert own[0] == "| this recipe" and own[1:4] == ["-", "-", "-"] and float(own[4]) < 0
    docs = (Path(__file__).parents[1] / "docs" / "flows.md").read_text()
    assert all(line in docs for line in out.splitlines() if line.startswith("| ") and "this recipe" not in line)
