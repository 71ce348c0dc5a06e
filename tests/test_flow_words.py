"""What a flow refuses and says: rows and contexts that do not fit, sizes, supports, targets; and what it serves."""

import math
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.distributions import biject_to

from pofx.errors import SpecError, Unsupported
from pofx.nn import flows
from pofx.nn import pyro as pyro_
from pofx.nn.flow import Flow
from pofx.nn.linear import Householder, Turn
from pofx.transforms.spline import Spline

SMALL = {"hidden": (16, 16), "transforms": 2}
NAMED = {
    "Planar": flows.Planar,
    "Radial": flows.Radial,
    "Sylvester": flows.Sylvester,
    "NICE": lambda d, c=0: flows.NICE(d, c, **SMALL),
    "RealNVP": lambda d, c=0: flows.RealNVP(d, c, **SMALL),
    "Glow": lambda d, c=0: flows.Glow(d, c, **SMALL),
    "MAF": lambda d, c=0: flows.MAF(d, c, **SMALL),
    "IAF": lambda d, c=0: flows.IAF(d, c, **SMALL),
    "NSF": lambda d, c=0: flows.NSF(d, c, **SMALL),
    "ResidualFlow": lambda d, c=0: flows.ResidualFlow(d, c, **SMALL),
    "FFJORD": lambda d, c=0: flows.FFJORD(d, c, hidden=(16,), steps=4),
    "TarFlow": lambda d, c=0: flows.TarFlow(d, c, transforms=2, width=8, heads=2, depth=1),
}
every = pytest.mark.parametrize("make", NAMED.values(), ids=NAMED)


@pytest.fixture(autouse=True)
def _seeded() -> object:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def stirred(flow: Flow, by: float = 0.3) -> Flow:
    """The flow with weights that are no longer where they started."""
    for p in flow.parameters():
        p.data += by * torch.randn_like(p)
    return flow.eval()


# -- rows and contexts -----------------------------------------------------------------------------------------------


@every
def test_rows_of_another_size_or_type_are_said(make: Callable[..., Flow]) -> None:
    flow = make(3)
    for x in (torch.randn(4, 4), torch.randn(4, 2), torch.randn(3), torch.randn(2, 4, 3)):
        for call in (flow.log_prob, flow.start, flow.check):
            with pytest.raises(
                SpecError, match=rf"expected rows of shape \(B, 3\), got {re.escape(str(tuple(x.shape)))}"
            ):
                call(x)
    for x in (torch.zeros(4, 3, dtype=torch.int64), torch.zeros(4, 3, dtype=torch.float64)):
        for call in (flow.log_prob, flow().log_prob, flow.start):
            with pytest.raises(SpecError, match=f"expected x of torch.float32, .* got {x.dtype}: x.to"):
                call(x)
    c = torch.zeros(4, 2, dtype=torch.int64)
    for call in (lambda: make(3, 2).log_prob(torch.zeros(4, 3), c), lambda: make(3, 2)(c).sample()):
        with pytest.raises(SpecError, match="expected a context of torch.float32, .* got torch.int64"):
            call()


@every
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_rows_are_scored_under_vmap(make: Callable[..., Flow]) -> None:
    flow, x = stirred(make(3), 0.1), torch.randn(5, 3)
    got = torch.func.vmap(lambda row: flow.log_prob(row[None])[0])(x)
    torch.testing.assert_close(got, flow.log_prob(x), atol=1e-4, rtol=1e-4)


def test_a_box_that_is_left_is_said_by_both_paths_and_not_in_a_graph() -> None:
    x = torch.full((60, 2), 50.0)
    for call in (lambda f: f.log_prob(x), lambda f: f().log_prob(x)):
        with pytest.warns(UserWarning, match="100% of the values lie outside the splines' box"):
            call(flows.NSF(2, **SMALL))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.func.vmap(flows.NSF(2, **SMALL).log_prob)(x[None])
        torch.compile(flows.NSF(2, **SMALL).log_prob, backend="eager", fullgraph=True)(x)


# -- contexts are looked at once -------------------------------------------------------------------------------------


@every
def test_each_context_is_projected_once(make: Callable[..., Flow]) -> None:
    """3 contexts, 20 draws and scores of each: a network sees 3 rows of context, as often in a draw as in a score."""
    flow, c, rows = stirred(make(4, 2), 0.1), torch.randn(3, 2), []
    for part in flow.modules():
        for name in ("aside", "net"):
            if isinstance(aside := getattr(part, name, None), torch.nn.Linear) and aside.in_features == 2:
                aside.register_forward_hook(lambda _, given, __: rows.append(len(given[0])))
    with torch.no_grad():
        x = flow(c).sample((20,))
        assert set(rows) == {3}
        many = len(rows)
        log = flow(c).log_prob(x)
        assert set(rows) == {3} and many <= 2 * (len(rows) - many)
        each = flow(c.expand(20, 3, 2)).log_prob(x)
        torch.testing.assert_close(log, each, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(flow.log_prob(x.flatten(0, 1), c, turns=20), log.flatten())
        with pytest.raises(SpecError, match=r"context of shape \(20, 2\) or \(1, 2\)"):
            flow.log_prob(x.flatten(0, 1), c, turns=3)


# -- supports --------------------------------------------------------------------------------------------------------


def test_a_flow_is_put_on_one_support_and_on_none_of_its_own() -> None:
    for flow in (
        flows.MAF(1).on(["positive"]),
        flows.NSF(1, circular=True, coupling=False),
        flows.NSF(1, coupling=False, base=flows.Uniform(1, 5.0)),
    ):
        with pytest.raises(SpecError, match="expected a flow on all of R.D, got one with a support of its own"):
            flow.on(["positive"])
    for base in (flows.Mixture(2), flows.Normal(2), flows.Uniform(2)):
        with pytest.raises(SpecError, match=rf"base=Uniform\(2, math.pi\), or none, .* got {type(base).__name__}"):
            flows.NSF(2, circular=True, base=base)


def test_a_support_is_the_box_that_layers_keep() -> None:
    for flow, bound in (
        (flows.NSF(2, circular=True, **SMALL), math.pi),
        (flows.NSF(2, linear=False, base=flows.Uniform(2, 5.0), **SMALL), 5.0),
    ):
        law = flow()
        places = torch.tensor([[0.0, bound - 1e-3], [0.0, bound + 1e-3]])
        assert law.support.check(places).tolist() == [True, False]
        assert law.support.check(law.sample((50,))).all()
        x = biject_to(law.support)(3 * torch.randn(50, 2))
        assert law.log_prob(x).isfinite().all()
    with pytest.raises(Unsupported, match=r"layers that keep the box \[-5, 5\] of the base"):
        _ = flows.NSF(2, base=flows.Uniform(2, 5.0), **SMALL)().support


def test_half_lines_end_where_they_are_said_to() -> None:
    law = stirred(flows.MAF(2, **SMALL).on([(-math.inf, 2.0), (3.0, math.inf)]))()
    assert law.support.check(torch.tensor([[1.0, 4.0], [3.0, 4.0], [1.0, 2.0]])).tolist() == [True, False, False]
    x, log = law.rsample_and_log_prob((200,))
    assert law.support.check(x).all()
    torch.testing.assert_close(law.log_prob(x), log, atol=1e-3, rtol=1e-3)


@every
@pytest.mark.parametrize("far", [3e38, math.inf, -math.inf])
def test_outside_a_support_there_is_no_density_whatever_the_other_numbers(
    make: Callable[..., Flow], far: float
) -> None:
    flow = stirred(make(2).on(["unit", "real"]), 0.1)
    with torch.no_grad():
        assert (flow.log_prob(torch.tensor([[9.0, far], [-1.0, far], [1.0, far]])) == -math.inf).all()
        assert flow.log_prob(torch.tensor([[9.0, math.nan]])).isnan().all()


def test_angles_are_compared_around_the_circle() -> None:
    for flow in (flows.NSF(2, circular=True, **SMALL), Flow([Turn(2)], 2, base=flows.Uniform(2, math.pi))):
        x = torch.tensor([[math.pi, 0.3], [-math.pi, math.pi]])
        assert flow.check(x).ok and flow.check(x).whole < 1e-4


# -- objectives and sizes --------------------------------------------------------------------------------------------


def test_a_target_gives_a_number_a_row_and_alpha_is_finite() -> None:
    flow = flows.MAF(2, **SMALL)
    for target in (lambda x: x.sum(1, keepdim=True), lambda x: x, lambda x: x.sum()):
        for objective in (flows.reverse_kl, flows.alpha_divergence):
            with pytest.raises(SpecError, match=r"expected a target of shape \(7,\), a number a row, got"):
                objective(flow, target, 7)
    for alpha in (1, math.inf, math.nan):
        with pytest.raises(SpecError, match=f"expected a finite alpha other than 1, got {alpha}"):
            flows.alpha_divergence(flow, lambda x: x.sum(1), 7, alpha)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: flows.NSF(2, bins=0), "bins of at least 1, got 0"),
        (lambda: flows.NSF(2, bins=100), "fewer than 100 bins, got 100"),
        (lambda: flows.NSF(2, waves=-1), "waves of at least 0, got -1"),
        (lambda: flows.NSF(2, bound=-1), "a bound above 0, .* got -1"),
        (lambda: flows.NSF(2, hidden=16), r"hidden as a sequence of widths, got 16: give one such as \(128, 128\)"),
        (lambda: flows.NSF(2, hidden=()), r"at least one hidden layer, got hidden=\(\)"),
        (lambda: flows.MAF(2, hidden=(16, 0)), "hidden of at least 1, got 0"),
        (lambda: flows.MAF(2, -1), "context of at least 0, got -1"),
        (lambda: flows.MAF(2, transforms=1.5), "transforms as a whole number, got 1.5"),
        (lambda: flows.Planar(2, transforms=0), "transforms of at least 1, got 0"),
        (lambda: flows.Planar(0), "features of at least 1, got 0"),
        (lambda: flows.Sylvester(2, count=0), "count of at least 1, got 0"),
        (lambda: flows.TarFlow(2, -1), "context of at least 0, got -1"),
        (lambda: flows.FFJORD(2, steps=0), "steps of at least 1, got 0"),
        (lambda: Householder(2, 0), "count of at least 1, got 0"),
        (lambda: Spline(0), "bins of at least 1, got 0"),
        (lambda: flows.Mixture(2, 0), "components of at least 1, got 0"),
        (lambda: flows.StudentT(2, 1.5), "degrees of freedom above 2, .* got 1.5"),
        (lambda: flows.Uniform(2, 0.0), "a bound above 0, .* got 0.0"),
        (lambda: flows.MAF(2, 3, base=flows.Conditional(2, 4)), "a base of context 3, as the flow has, got one of 4"),
        (lambda: flows.MAF(2).estimate(torch.zeros(3, 2), draws=1), "draws of at least 2, got 1"),
    ],
)
def test_sizes_that_make_no_sense_are_said(make: Callable[[], object], said: str) -> None:
    with pytest.raises(SpecError, match="expected " + said):
        make()


@pytest.mark.parametrize("make", [flows.Planar, flows.Radial, flows.Sylvester])
def test_bumps_read_a_context_by_a_network(make: type[Flow]) -> None:
    """|c| moves the law, which no linear function of c does."""
    flow = make(2, 1, transforms=2, hidden=(8,))
    optimiser = torch.optim.Adam(flow.parameters(), 2e-2)
    for _ in range(5):
        c = torch.randn(64, 1)
        loss = -flow.log_prob(torch.randn(64, 2) + c.abs(), c).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    grads = [p.grad for name, p in flow.named_parameters() if ".first." in name]
    assert grads and all(g.isfinite().all() for g in grads) and any((g != 0).any() for g in grads)


# -- what it serves --------------------------------------------------------------------------------------------------


def test_a_gaussian_is_recovered_by_maximum_likelihood() -> None:
    law = torch.distributions.MultivariateNormal(torch.tensor([1.0, -2.0]), torch.tensor([[1.0, 0.6], [0.6, 0.5]]))
    flow = flows.MAF(2, transforms=1, hidden=(16,))
    optimiser = torch.optim.Adam(flow.parameters(), 5e-2)
    for step in range(200):
        optimiser.param_groups[0]["lr"] = 5e-2 * (1 - step / 200)
        loss = -flow().log_prob(law.sample((256,))).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    x = law.sample((4000,))
    with torch.no_grad():
        assert float((law.log_prob(x) - flow().log_prob(x)).mean()) == pytest.approx(0.0, abs=0.02)
        drawn = flow().sample((8000,))
    torch.testing.assert_close(drawn.mean(0), law.mean, atol=0.1, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), law.covariance_matrix, atol=0.1, rtol=0)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_pyro_samples_a_flow_in_plates_and_learns_it() -> None:
    pyro = pytest.importorskip("pyro")
    from pyro.infer import SVI, Trace_ELBO

    flow, guide, data = flows.MAF(2, 1, **SMALL), flows.MAF(1, **SMALL), torch.randn(20, 2)

    def model(x: Tensor) -> None:
        pyro.module("flow", flow)
        z = pyro.sample("z", pyro.distributions.Normal(torch.zeros(1), 1.0).to_event(1))
        with pyro.plate("rows", len(x)):
            pyro.sample("x", flow.pyro(z), obs=x)

    def about(x: Tensor) -> None:
        pyro.module("guide", guide)
        pyro.sample("z", guide.pyro())

    svi = SVI(model, about, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
    before = [p.clone() for p in (*flow.parameters(), *guide.parameters())]
    losses = [svi.step(data) for _ in range(3)]
    assert all(map(math.isfinite, losses))
    assert any(not torch.equal(a, b) for a, b in zip(before, (*flow.parameters(), *guide.parameters()), strict=True))
    with pyro.plate("five", 5):
        assert pyro.sample("x", flow.pyro(torch.zeros(1))).shape == (5, 2)
    law = flow.pyro(torch.randn(4, 1))
    torch.testing.assert_close(law.to_event(1).log_prob(data[:4]), flow(law.c).log_prob(data[:4]).sum())


def test_without_pyro_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyro.distributions.torch_distribution", None)
    pyro_.pyro_law.cache_clear()
    with pytest.raises(Unsupported, match=r"pip install 'pofx\[pyro\]'"):
        flows.MAF(2, **SMALL).pyro()


ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("page", ["README.md", "docs/flows.md"])
def test_the_blocks_of_torch_in_the_documents_run(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = [b for b in re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S) if "pofx.flows" in b]
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)
    assert blocks
