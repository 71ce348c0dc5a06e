"""Compiled and eager agree; a fit compiles only where its minutes repay it, and goes on aloud where it cannot."""

import inspect
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from made import mixed, spec_of

from pofx.models import create, load_class, names
from pofx.nn import compiling, flows
from pofx.nn.flow import Flow
from pofx.nn.mixed import TOLD, Linear, mix
from pofx.training import loop
from pofx.training.loop import Trainer

MAKE: dict[str, Callable[[], Flow]] = {
    "spline coupling": lambda: flows.NSF(4, transforms=2, hidden=(16, 16), waves=2, base=flows.Mixture(4, 3)),
    "affine autoregressive": lambda: flows.MAF(4, transforms=2, hidden=(16, 16)),
}


@pytest.fixture(autouse=True)
def _own_random_state() -> object:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.mark.filterwarnings("ignore:.*lie outside the splines")
@pytest.mark.parametrize("name", list(MAKE))
def test_compiled_and_eager_agree_in_values_and_gradients(name: str) -> None:
    flow = MAKE[name]()
    for p in flow.parameters():
        p.data += 0.3 * torch.randn_like(p)
    x = 3 * torch.randn(64, 4)
    quick = flow.compiled()
    found = []
    for law in (flow.log_prob, quick):
        flow.zero_grad()
        value = law(x)
        value.mean().backward()
        found.append([value.detach(), *(p.grad.clone() for p in flow.parameters())])
    for eager, compiled in zip(*found, strict=True):
        torch.testing.assert_close(compiled, eager, atol=1e-4, rtol=1e-4)


def test_a_quickened_draw_is_the_eager_one() -> None:
    flow = flows.NSF(3, transforms=1, hidden=(16, 16), coupling=False)
    for p in flow.parameters():
        p.data += 0.3 * torch.randn_like(p)
    found = []
    for yes in (False, True):
        flow.quicken_draws(yes)
        torch.manual_seed(1)
        with torch.no_grad():
            found.append(flow.draw(64))
    for eager, compiled in zip(*found, strict=True):
        torch.testing.assert_close(compiled, eager, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", list(MAKE))
def test_bfloat16_is_for_networks_in_training_alone(name: str) -> None:
    flow, x = MAKE[name](), torch.randn(64, 4)
    for p in flow.parameters():
        p.data += 0.1 * torch.randn_like(p)
    exact = flow.log_prob(x).detach()
    coarse = flow.mixed_precision().log_prob(x)
    assert coarse.dtype == torch.float32 and 1e-5 < float((coarse.detach() - exact).abs().max()) < 0.3
    coarse.mean().backward()
    assert all(p.grad.dtype == torch.float32 and torch.isfinite(p.grad).all() for p in flow.parameters())
    with torch.no_grad():  # a score without a gradient, and every inverse, keeps the precision of the weights
        assert torch.equal(flow.log_prob(x), exact)
    z = flow.mixed_precision(False).layers.call_and_ladj(x)[0]
    back = flow.mixed_precision().layers.inverse_and_ladj(z)[0]
    torch.testing.assert_close(back, x, atol=1e-4, rtol=1e-4)
    assert torch.equal(flow.eval().log_prob(x).detach(), exact)


@pytest.mark.parametrize("told", [False, True])
def test_a_linear_map_that_rounds_its_factors_is_near_the_exact_one_in_training_alone(
    told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pofx.nn.mixed.TOLD", told and TOLD)
    torch.manual_seed(0)
    layer, x = Linear(300, 300), torch.randn(4, 50, 300, requires_grad=True)

    def gradients() -> list[torch.Tensor]:
        y = layer(x)
        first = torch.autograd.grad(y.sin().sum(), [x, layer.weight, layer.bias], create_graph=True)
        return [y, *first, *torch.autograd.grad(first[0].square().sum(), [x, layer.weight])]

    exact = gradients()
    assert mix(layer, narrow=False)
    for got, want in zip(gradients(), exact, strict=True):
        assert got.dtype == torch.float32 and (got - want).norm() < 0.02 * want.norm()
    with torch.no_grad():
        assert torch.equal(layer(x), exact[0])
    assert torch.equal(layer.eval()(x), exact[0])
    assert not TOLD or torch.backends.mkldnn.matmul.fp32_precision != "bf16"
    assert not mix(Linear(200, 200), narrow=False)


def trainer(name: str = "nsf") -> Trainer:
    x = mixed()
    model = create(name, spec_of(x), seed=0, transforms=2, width=16, depth=1)
    return Trainer(model, model.prepare(x), model.prepare(mixed(100, 1)), 5, "cpu", batch=32)


def counted(monkeypatch: pytest.MonkeyPatch, error: str = "") -> list[int]:
    """torch.compile, counted, that gives the function back with its waiting taken out, or fails when it is called."""
    calls: list[int] = []

    def compile_(function: Callable, **_: object) -> Callable:
        def run(*args: object) -> object:
            if error:
                raise RuntimeError(error + "\nmore lines")
            calls.append(1)
            return function(*args)

        return run

    monkeypatch.setattr(torch, "compile", compile_)
    return calls


def slow_when_eager(job: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    true = job.model.log_ratio

    def slowly(*args: torch.Tensor) -> torch.Tensor:
        if job.model.quick is None:
            time.sleep(0.02)
        return true(*args)

    monkeypatch.setattr(job.model, "log_ratio", slowly)


def test_minutes_that_repay_it_are_compiled_and_a_resumed_fit_too(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch)
    monkeypatch.setattr(loop, "REPAID", 0.0)
    job = trainer()
    slow_when_eager(job, monkeypatch)
    job.plan(None, time.monotonic() + 3)
    assert job.quick and job.step == 0 and len(calls) == loop.PROBES + 3
    state = job.state()
    job.run(4)
    assert len(calls) == loop.PROBES + 7 and job.model.quick is None
    again = trainer()
    again.restore(*state)
    again.run(4)
    assert len(calls) == loop.PROBES + 11
    for a, b in zip(job.model.parameters(), again.model.parameters(), strict=True):
        assert np.array_equal(a.detach(), b.detach())


def test_a_short_fit_and_a_fit_by_steps_are_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch)
    job = trainer()
    job.plan(None, time.monotonic() + 3)
    assert job.plan(7, None) == 7 and not job.quick and not calls


def test_what_cannot_be_compiled_says_so_and_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    counted(monkeypatch, error="no C++ compiler")
    monkeypatch.setattr(loop, "REPAID", 0.0)
    job = trainer()
    with pytest.warns(UserWarning, match="could not be compiled and trains without: no C\\+\\+ compiler$"):
        total = job.plan(None, time.monotonic() + 3)
    assert total >= 10 and not job.quick
    assert job.run(3).steps == 3


def test_models_that_say_they_compile_have_a_density_that_is_used() -> None:
    for name in names("flows"):
        if load_class(name).compiles:
            x = mixed()
            model = create(name, spec_of(x), seed=0).train()
            model.quick = lambda z, c: z.sum(1) * float("nan")
            batch = model.prepare({k: v[:8] for k, v in x.items()})
            loss = model.loss(batch, loop.Clock(0, 1), torch.Generator().manual_seed(0))
            assert loss.isnan().all(), name


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize(("name", "words"), [("vae", {}), ("vae", {"prior": "vamp", "posterior": "iaf"}), ("hvae", {})])
def test_a_compiled_bound_is_the_eager_one(
    name: str, words: dict[str, str], wide: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling.torch, "compile", partial(torch.compile, backend="eager"))
    monkeypatch.setattr("pofx.nn.mixed.WIDE", 1 if wide else 2**30)
    x = mixed(64)
    model = create(name, spec_of(x), seed=0, width=16, **words).train()
    assert mix(model, narrow=False) == wide
    batch = model.prepare(x)

    def gradients() -> list[torch.Tensor]:
        loss = model.loss(batch, loop.Clock(7, 10), torch.Generator().manual_seed(0)).mean()
        return [loss, *torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)]

    eager = gradients()
    model.quicken()
    for got, want in zip(gradients(), eager, strict=True):
        assert (got is None) == (want is None)
        if got is not None:
            off = (got - want).norm() / (want.norm() + 1e-3)
            assert off < (0.05 if wide else 1e-4)


@pytest.mark.skipif("isolate_recompiles" not in inspect.signature(torch.compile).parameters, reason="torch below 2.13")
def test_a_process_may_compile_more_flows_than_one_cache_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every compiled density is of one function: with one cache for all of them, the third would be refused."""
    monkeypatch.setattr(compiling.torch, "compile", partial(torch.compile, backend="eager"))
    for features in (2, 3, 4, 5):
        flow = flows.RealNVP(features, transforms=1, hidden=(8,))
        x = torch.randn(16, features)
        with torch._dynamo.config.patch(recompile_limit=2):  # what monkeypatch sets there does not come back
            torch.testing.assert_close(flow.compiled()(x), flow.log_prob(x))


def test_the_page_on_flows_says_which_compile() -> None:
    page = " ".join((Path(__file__).parents[1] / "docs" / "flows.md").read_text().split())
    said = page.split("Of the flows ")[1].split(" compile;")[0]
    assert set(re.findall(r"`(\w+)`", said)) == {name for name in names("flows") if load_class(name).compiles}


def test_graphs_are_captured_on_cuda_alone() -> None:
    assert compiling.mode_of(torch.device("cuda", 1)) == "reduce-overhead"
    assert compiling.mode_of(torch.device("cpu")) is None
    assert compiling.mode_of(torch.device("mps")) is None


def test_values_of_a_captured_graph_are_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, object]] = []
    held = torch.zeros(5)

    def compile_(function: Callable, **words: object) -> Callable:
        asked.append(words)
        return lambda x: held.copy_(function(x))

    monkeypatch.setattr(compiling.torch, "compile", compile_)
    monkeypatch.setattr("pofx.nn.flow.mode_of", lambda _: compiling.mode_of(torch.device("cuda")))
    flow = flows.MAF(2, transforms=1, hidden=(8,))
    quick, x = flow.compiled(), torch.randn(5, 2)
    with torch.no_grad():
        first = quick(x)
        quick(x + 1)
        torch.testing.assert_close(first, flow.log_prob(x))
    assert asked[0]["mode"] == "reduce-overhead" and asked[0]["fullgraph"] is True


def test_what_does_not_compile_in_reasonable_time_says_so_and_stays_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch)
    flow, x = flows.IAF(3, transforms=1, hidden=(8,)), torch.randn(5, 3)
    with pytest.warns(UserWarning, match=r"\(IAF\) does not compile in reasonable time: it stays uncompiled$"):
        quick = flow.compiled()
    assert torch.equal(quick(x), flow.log_prob(x))
    for name in ("iaf", "planar"):
        model = create(name, spec_of(mixed()), seed=0)
        with pytest.warns(UserWarning, match=f"model '{name}' does not compile in reasonable time: it trains without$"):
            model.quicken()
        assert model.quick is None
    assert not calls
