"""The density benchmark: its sets are split as it says, its loop learns, its table ranks."""

import math

import pytest
import torch

import density

GALLERY = [name for name in density.SETS if name not in ("pendigits", "letter", "california_housing")]


@pytest.mark.parametrize("name", GALLERY)
def test_a_made_set_is_standardised_by_its_training_rows_and_repeats(name: str) -> None:
    data, again = density.split(name, 1), density.split(name, 1)
    assert (len(data.train), len(data.valid), len(data.test)) == (18000, 2000, 10000)
    both = torch.cat([data.train, data.valid])
    torch.testing.assert_close(both.mean(0), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(both.std(0), torch.ones(2), atol=1e-3, rtol=0)
    assert torch.equal(data.test, again.test) and not torch.equal(data.test, density.split(name, 2).test)


def test_the_gaussian_baseline_has_the_entropy_of_a_gaussian() -> None:
    x = torch.randn(20000, 2, generator=torch.Generator().manual_seed(0))
    data = density.Split(x[:9000], x[9000:10000], x[10000:], 0.0)
    assert float(density.gaussian(data).mean()) == pytest.approx(-math.log(2 * math.pi * math.e), abs=0.03)
    assert float(density.kernels(data).mean()) == pytest.approx(-math.log(2 * math.pi * math.e), abs=0.06)


def test_the_shared_loop_learns_and_keeps_the_best_average() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        data = density.split("moons", 0)
        flow, log_prob = density.pofx_flow("pofx maf", 2)
        before = density.scored(flow, log_prob, data.test).mean()
        told = density.trained(flow, log_prob, data, seconds=3)
        after = density.scored(flow, log_prob, data.test).mean()
        counted = density.trained(flow, log_prob, data, limit=5)
    assert told["steps"] > 3 and after > before + 0.1
    assert counted["steps"] == 5


def test_the_table_ranks_by_the_median_and_names_what_failed() -> None:
    row = {"set": "moons", "minutes": 1.0, "seed": 0}
    rows = [
        row | {"flow": "weak", "nats": -2.0, "steps": 10},
        row | {"flow": "strong", "nats": -1.0, "steps": 20},
        row | {"flow": "strong", "nats": -1.2, "steps": 20, "seed": 1},
        row | {"flow": "lost", "error": "no memory"},
    ]
    lines = density.printed(rows).splitlines()[2:]
    assert [line.split(" | ")[1] for line in lines] == ["strong", "weak", "lost"]
    assert lines[0] == "| moons | strong | 1 min | 2 | -1.100 | 0.100 | 20 |" and "no memory" in lines[2]
