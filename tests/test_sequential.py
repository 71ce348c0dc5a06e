"""The law of sequences: it sums to one, its draws follow it, memories change nothing."""

import itertools

import numpy as np
import pytest
import torch

from pofx.errors import SpecError
from pofx.fields import Real, Token
from pofx.models import create
from pofx.models.sequential import by_size
from pofx.nn.sequence import Memory, Transformer
from pofx.spec import Block, Spec
from pofx.training.loop import Trainer

LEVELS = ("", "a", "b")


def spec_of(x: np.ndarray, ends: bool = True, levels: tuple[str, ...] = LEVELS) -> Spec:
    return Spec((Block("text", (Token.learn("text", x, levels, ends=ends),), x.shape[1:]),))


def lines(n: int, length: int = 4, seed: int = 0) -> np.ndarray:
    """Runs of one symbol, of every length, filled by END."""
    rng = np.random.default_rng(seed)
    size, which = rng.integers(0, length + 1, n), rng.integers(1, 3, n)
    return np.where(np.arange(length) < size[:, None], which[:, None], 0).astype(np.int32)


def taught(x: np.ndarray, steps: int, ends: bool = True, **words) -> torch.nn.Module:
    model = create("autoregressive", spec_of(x, ends), 0, width=32, heads=2, depth=1, **words)
    torch.manual_seed(0)
    Trainer(model, model.prepare({"text": x}), model.prepare({"text": x[:50]}), 0, "cpu").run(steps)
    return model.eval()


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return taught(lines(400), 150)


def every(length: int) -> np.ndarray:
    """All lines of two symbols, each once."""
    whole = [line for n in range(length + 1) for line in itertools.product((1, 2), repeat=n)]
    return np.array([(*line, *[0] * (length - len(line))) for line in whole], np.int32)


def test_the_mass_of_all_lines_is_one(model):
    assert np.exp(model.log_prob({"text": every(4)})).sum() == pytest.approx(1, abs=1e-5)


def test_rows_are_worked_on_by_size_and_come_back_in_their_order(model):
    x = torch.from_numpy(lines(101, seed=3)).long()
    whole = model._terms(x).sum(1)
    torch.testing.assert_close(model._log_prob(x, None), whole)
    assert model._log_prob(x[:0], None).shape == (0,) and model._log_prob(x[:1], None).shape == (1,)
    x, seen = torch.from_numpy(lines(101, 20, seed=3)).long(), []

    def work(part: torch.Tensor, more: torch.Tensor) -> torch.Tensor:
        seen.append(part.shape)
        return part.sum(1) + more

    sizes, more = (x != 0).sum(1) + 1, torch.arange(101)
    torch.testing.assert_close(by_size(work, sizes, x, more), x.sum(1) + more)
    assert sum(rows * sites for rows, sites in seen) < 0.8 * x.numel()


def test_it_learns_what_lines_are(model):
    mass = np.exp(model.log_prob({"text": every(4)}))
    runs = np.array([len(set(row) - {0}) <= 1 for row in every(4).tolist()])
    assert mass[runs].sum() > 0.8


def test_draws_follow_the_law(model):
    drawn = model.decode(model.noise(4000, torch.Generator().manual_seed(1)))["text"]
    own = {tuple(row): p for row, p in zip(every(4).tolist(), np.exp(model.log_prob({"text": every(4)})), strict=True)}
    found, count = np.unique(drawn, axis=0, return_counts=True)
    chi = sum(
        (c - 4000 * own[tuple(row)]) ** 2 / (4000 * own[tuple(row)])
        for row, c in zip(found.tolist(), count, strict=True)
    )
    assert chi < 2 * len(own) + 20


def test_a_small_draw_begins_a_large_one(model):
    z = model.noise(300, torch.Generator().manual_seed(2))
    assert (model.decode(z)["text"][:7] == model.decode(z[:7])["text"]).all()


def test_memories_change_nothing():
    net = Transformer(5, 5, 16, 2, 2, True)
    torch.nn.init.normal_(net.last[1].weight)
    x = torch.randint(5, (3, 9), generator=torch.Generator().manual_seed(0))
    memories = [Memory() for _ in net.blocks]
    parts = [net(x[:, :4], memories=memories), net(x[:, 4:7], memories=memories), net(x[:, 7:], memories=memories)]
    assert torch.allclose(torch.cat(parts, 1), net(x), atol=1e-5)


def test_a_causal_network_sees_nothing_ahead():
    net = Transformer(5, 5, 16, 2, 2, True)
    torch.nn.init.normal_(net.last[1].weight)
    x = torch.zeros(1, 6, dtype=torch.long)
    y = x.clone()
    y[0, 4] = 3
    assert torch.equal(net(x)[:, :4], net(y)[:, :4])
    assert not torch.equal(net(x)[:, 4:], net(y)[:, 4:])


def test_rows_of_a_document_sum_to_its_likelihood():
    text = np.tile([0, 1, 2, 2], 60)
    x = np.stack([text[i : i + 16] for i in range(0, 224, 8)]).astype(np.int32)
    model = taught(x, 200, ends=False)
    told = -model.log_prob({"text": x}) / 8
    assert told.shape == (28,) and told.mean() < 0.2


def test_what_is_drawn_goes_on_beyond_what_is_seen():
    x = np.stack([np.tile([0, 1, 2, 2], 8)[i : i + 16] for i in range(8)]).astype(np.int32)
    model = taught(x, 200, ends=False)
    prompt = torch.tensor([[0, 1, 2]])
    made = model.continued(prompt, torch.full((1, 50), 0.5))[0].tolist()
    assert made == np.tile([2, 0, 1, 2], 13)[:50].tolist()


def test_a_low_temperature_draws_the_likeliest(model):
    z = model.noise(200, torch.Generator().manual_seed(3))
    with model.tempered(1e-4):
        cold = model.decode(z)["text"]
    with model.tempered(1.0, 0.01):
        top = model.decode(z)["text"]
    assert len(np.unique(cold, axis=0)) == 1 and (top == cold).all()
    assert len(np.unique(model.decode(z)["text"], axis=0)) > 5


@pytest.mark.parametrize(("temperature", "top_p"), [(0.0, 1.0), (1.0, 0.0), (1.0, 1.5)])
def test_odd_temperatures_are_refused(model, temperature, top_p):
    with (
        pytest.raises(SpecError, match="expected a temperature above 0 and top_p in"),
        model.tempered(temperature, top_p),
    ):
        pass


def test_models_that_do_not_learn_text_name_those_that_do():
    with pytest.raises(SpecError, match="does not learn text or music: these do: any_order, autoregressive, vae, gan"):
        create("wgan", spec_of(lines(5)))


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(SpecError, match="expected a width that 2 heads divide"):
        create("autoregressive", spec_of(lines(5)), width=34)


def test_numbers_over_sites_are_no_tokens():
    field = Real.learn("wave", np.linspace(0, 1, 20))
    with pytest.raises(SpecError, match="expected a sequence of tokens, got Real"):
        create("autoregressive", Spec((Block("sound", (field,), (20,)),)))


def test_symbols_beyond_the_levels_are_refused():
    with pytest.raises(SpecError, match="expected codes 0 to 1, got 2"):
        Token.learn("text", np.array([[2, 1]]), ("", "a"))
