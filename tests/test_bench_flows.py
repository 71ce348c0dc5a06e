"""The benchmark of speeds: what is asked on the command line, where it runs, and what a line says."""

import pytest
import torch

import flows as bench


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error_of_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        bench.main(["--device", "cuda"])
    last = capsys.readouterr().err.splitlines()[-1]
    assert end.value.code == 2 and "error: expected a GPU for --device cuda, got none" in last


def test_another_device_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(["--device", "tpu"])
    assert "invalid choice: 'tpu'" in capsys.readouterr().err


def test_a_library_is_measured_and_its_line_says_where_it_ran_if_it_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "LIBRARIES", {"pofx": bench.ours})
    monkeypatch.setattr(bench.timed, "__defaults__", (0.0,))
    with torch.random.fork_rng(devices=[]):
        (row,) = bench.measure("affine", 4, ["pofx"], 1, "cpu")
    assert row["round_trip"] < 1e-4 and len(row["step"]) == 1
    row["peak_mib"] = None
    assert bench.line(row).startswith("| affine | 4 | pofx | ")
    assert bench.line(row | {"library": "flowjax", "on": "gpu"}).startswith("| affine | 4 | flowjax (gpu) | ")
