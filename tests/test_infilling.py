"""any_order over sequences: its bound, its draws, what is known is kept; and the optimiser of its matrices."""

import itertools

import numpy as np
import pytest
import torch

import pofx
from pofx.cli import main
from pofx.errors import CodecError, SpecError, Unsupported
from pofx.fields import Token
from pofx.models import create
from pofx.models.model import Clock
from pofx.nn.sequence import Transformer
from pofx.spec import Block, Spec
from pofx.training.loop import Trainer
from pofx.training.muon import Muon, orthogonal

LEVELS = ("", "a", "b")


def lines(n: int, length: int = 4, seed: int = 0) -> np.ndarray:
    """Runs of one symbol, of every length, filled by END."""
    rng = np.random.default_rng(seed)
    size, which = rng.integers(0, length + 1, n), rng.integers(1, 3, n)
    return np.where(np.arange(length) < size[:, None], which[:, None], 0).astype(np.int32)


def every(length: int) -> np.ndarray:
    whole = [line for n in range(length + 1) for line in itertools.product((1, 2), repeat=n)]
    return np.array([(*line, *[0] * (length - len(line))) for line in whole], np.int32)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    x = lines(600)
    spec = Spec((Block("text", (Token.learn("text", x, LEVELS),), (4,)),))
    made = create("any_order", spec, 0, width=32, heads=2, depth=1)
    torch.manual_seed(0)
    Trainer(made, made.prepare({"text": x}), made.prepare({"text": x[:50]}), 0, "cpu").run(250)
    return made.eval()


def test_the_bounds_of_all_lines_hold_at_most_one(model):
    bound = model.bound({"text": every(4)}, draws=400)
    mass = np.exp(bound.value).sum()
    assert 0.9 < mass < 1.02
    assert (bound.error[np.exp(bound.value) > 0.01] < 0.1).all()


def test_training_counts_each_hidden_site_alike():
    x = np.full((400, 4), 1, np.int32)
    x[::2] = 2
    fresh = create("any_order", Spec((Block("text", (Token.learn("text", x, ("", "a", "b")),), (4,)),)), 0)
    fresh.start(fresh.prepare({"text": x}))
    loss = fresh.loss(fresh.prepare({"text": x}), Clock(1, 2), torch.Generator().manual_seed(0))
    count, rows = np.unique((loss / (2 * np.log(2))).detach().round().int().numpy(), return_counts=True)
    assert count.tolist() == [1, 2, 3, 4] and (abs(rows - 100) <= 1).all()  # hidden sites of a row, evenly many


def test_draws_are_lines_and_follow_the_law(model):
    drawn = model.decode(model.noise(4000, torch.Generator().manual_seed(1)))["text"]
    ended = np.cumsum(drawn == 0, 1) > 0
    assert (drawn[ended] == 0).all()
    runs = np.array([len(set(row) - {0}) <= 1 for row in drawn.tolist()])
    sizes = np.bincount((drawn != 0).sum(1), minlength=5) / len(drawn)
    assert runs.mean() > 0.9
    assert np.abs(sizes - 0.2).max() < 0.05
    again = model.decode(model.noise(4000, torch.Generator().manual_seed(1)))["text"]
    assert (again == drawn).all()


def test_what_is_known_is_kept_and_tells_the_rest(model):
    x = np.tile(np.array([[2, 0, 0, 0]], np.int32), (300, 1))
    known = np.tile(np.array([[True, False, False, True]]), (300, 1))  # the END at site 3 is known
    filled = model.decode(model.noise(300, torch.Generator().manual_seed(1)), known=({"text": x}, known))["text"]
    assert (filled[:, 0] == 2).all() and (filled[:, 3] == 0).all()
    assert (filled[:, 1:3] == 2).mean() > 0.9


def test_a_site_that_is_not_seen_changes_nothing():
    net = Transformer(4, 3, 32, 2, 2, causal=False)
    torch.nn.init.normal_(net.last[1].weight)
    x = torch.randint(0, 3, (2, 6))
    sizes = torch.tensor([4, 6])
    other = x.clone()
    other[0, 5] = 3
    assert torch.allclose(net(x, sizes=sizes)[0, :2], net(other, sizes=sizes)[0, :2], atol=1e-6)
    assert not torch.allclose(net(x)[0, :2], net(other)[0, :2], atol=1e-4)


RHYMES = ["the cat sat on the mat", "the dog sat on the log", "the pig sat on the wig"] * 40


SMALL = {"width": 64, "depth": 2, "heads": 2}


@pytest.fixture(scope="module")
def rhymes():
    return pofx.fit(RHYMES, model="any_order", steps=400, quiet=True, split=(0.9, 0.05, 0.05), **SMALL)


def test_holes_are_filled(rhymes, tmp_path, capsys):
    filled = rhymes.complete("the cat sat on the ___", top_p=0.5, quiet=True)
    assert filled == "the cat sat on the mat"
    assert (
        rhymes.complete(["the *** sat on the log"], hole="*", draws=2, top_p=0.5, quiet=True)
        == ["the dog sat on the log"] * 2
    )
    assert rhymes.complete(["no hole"[:0]], quiet=True) == [""]
    rhymes.save(tmp_path / "m.pofx")
    told = tmp_path / "holes.txt"
    told.write_text("the pig sat on the ___\nthe ___ sat on the mat\n")
    assert rhymes.complete(told, path=tmp_path / "full.txt", top_p=0.5, quiet=True) == 2
    assert (tmp_path / "full.txt").read_text() == "the pig sat on the wig\nthe cat sat on the mat\n"
    assert main(["complete", str(tmp_path / "m.pofx"), "--text", "the cat sat on the ___"]) == 0
    assert "the cat sat on the " in capsys.readouterr().out


def test_a_document_is_filled_window_by_window(tmp_path):
    path = tmp_path / "rhyme.txt"
    path.write_text("\n\n".join(RHYMES[:40]))
    words = {"reading": {"length": 16, "document": "yes"}, **SMALL}
    model = pofx.fit(path, model="any_order", steps=20, quiet=True, **words)
    text = "the cat sat on the ___\n\n" * 6
    filled = model.complete([text], quiet=True)[0]
    assert len(filled) == len(text) and "_" not in filled
    assert all(a == b for a, b in zip(text, filled, strict=True) if a != "_")
    assert np.isfinite(model.log_prob(path)).all()
    assert len(model.sample(2, seed=1, quiet=True)) == 2


def test_what_cannot_be_filled_is_refused(rhymes):
    with pytest.raises(SpecError, match="expected a hole of one character"):
        rhymes.complete("a __ b", hole="__")
    with pytest.raises(CodecError, match="expected characters of the training text, got 'Z'"):
        rhymes.complete("Z_", quiet=True)
    with pytest.raises(CodecError, match="expected a line of at most 22 symbols, got 30"):
        rhymes.complete("_" * 30, quiet=True)
    with pytest.raises(Unsupported, match="does not go on from a prompt"):
        rhymes.continue_("the")


def test_steps_of_muon_turn_all_directions_alike():
    u = torch.randn(2, 24, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    got = torch.linalg.svdvals(orthogonal(u))
    assert got.min() > 0.5 and got.max() < 1.3
    a, _, b = torch.linalg.svd(u, full_matrices=False)
    assert torch.nn.functional.cosine_similarity(orthogonal(u).flatten(), (a @ b).flatten(), 0) > 0.97


def test_muon_moves_what_says_so_and_adamw_the_rest():
    flagged, plain = (torch.nn.Parameter(torch.zeros(4, 4)) for _ in range(2))
    flagged.orthogonal = 1
    made = Muon([flagged, plain], (0.9, 0.99), 0.0, times=10.0)
    for p in (flagged, plain):
        p.grad = torch.diag(torch.tensor([1.0, 0.1, 0.01, 0.001]))
    made.step(1e-3)
    assert torch.allclose(plain.detach().diagonal(), torch.full((4,), -1e-3), rtol=0.01)
    assert torch.allclose(flagged.detach().diagonal(), torch.full((4,), -1e-2), rtol=0.6)
    held = made.arrays()
    other = Muon([flagged, plain], (0.9, 0.99), 0.0, times=10.0)
    other.restore(held)
    assert all((a == b).all() for a, b in zip(held.values(), other.arrays().values(), strict=True))
