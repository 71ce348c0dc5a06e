"""gan of text: its gradient is the exact one, it learns words, and it says what likelihood scores beside it."""

import itertools

import numpy as np
import pytest
import torch

import pofx
from pofx.cli import main
from pofx.errors import PofxError, SpecError, Unsupported
from pofx.evaluate_text import figures_of, nearer
from pofx.fields import Token
from pofx.metrics.gram_distance import entropy, gram_distance
from pofx.metrics.ngram import NGram
from pofx.models import create
from pofx.models.model import Clock
from pofx.models.sequence_gan import SequenceGAN, live, runs, variation
from pofx.spec import Block, Spec
from pofx.training.loop import Trainer

WORDS = ["anna", "bob", "cleo"]
SMALL = {"width": 32, "heads": 2, "depth": 1}


def spec_of(x: np.ndarray, ends: bool = True) -> Spec:
    return Spec((Block("text", (Token.learn("text", x, ("", "a", "b"), ends=ends),), x.shape[1:]),))


def lines(n: int, length: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    size = rng.integers(0, length + 1, n)
    return np.where(np.arange(length) < size[:, None], rng.integers(1, 3, (n, length)), 0).astype(np.int32)


def game(**words) -> SequenceGAN:
    """A small game whose last layers are no zeros, in float64."""
    model = create("gan", spec_of(lines(50)), 0, width=16, heads=2, depth=1, dropout=0.0, **words)
    torch.manual_seed(1)
    for net in (model.net, model.critic):
        torch.nn.init.normal_(net.last[1].weight)
    return model.double().eval()


def every(length: int) -> torch.Tensor:
    """All lines of two symbols, each once."""
    whole = [line for n in range(length + 1) for line in itertools.product((1, 2), repeat=n)]
    return torch.tensor([(*line, *[0] * (length - len(line))) for line in whole])


@pytest.fixture(scope="module")
def words() -> "pofx.bundle.Fitted":
    return pofx.fit(WORDS * 60, model="gan", steps=250, quiet=True, **SMALL)


# -- the gradient ------------------------------------------------------------------------------------------------------


def test_the_gradient_is_the_policy_gradient_without_its_noise():
    """In the mean over all draws, the sum over symbols has the gradient of reward times log q of what was drawn."""
    model, x = game(), every(3)
    with torch.no_grad():
        score = model.scored(x, None)
    logits = model.net(model._ahead(x))
    log_q = logits.log_softmax(2)
    terms = torch.where(live(x), log_q.gather(2, x[:, :, None])[:, :, 0], 0.0)
    mass = terms.sum(1).exp().detach()
    assert float(mass.sum()) == pytest.approx(1)
    reward = torch.where(live(x), score.gather(2, x[:, :, None])[:, :, 0], 0.0)
    drawn = (mass * (reward * terms).sum(1)).sum() / model.size
    summed = (mass * model.gain(logits, score, x)).sum()
    parameters = list(model.net.parameters())
    own, other = (torch.autograd.grad(loss, parameters, retain_graph=True) for loss in (summed, drawn))
    flat, expected = (torch.cat([g.flatten() for g in part]) for part in (own, other))
    assert flat.norm() > 1e-3
    assert torch.allclose(flat, expected, atol=1e-10)


def test_a_critic_that_knows_the_ratio_makes_the_gradient_that_of_the_divergence():
    """With D = log p(v | x_<t) / q(v | x_<t) plus what v does not change, G descends on the KL of each beginning."""
    model, x = game(), every(3)
    logits = model.net(model._ahead(x))
    log_q, log_p = logits.log_softmax(2), torch.randn(logits.shape, dtype=torch.float64).log_softmax(2)
    aside = torch.randn(logits.shape[:2], dtype=torch.float64)[:, :, None]
    gain = model.gain(logits, (log_p - log_q).detach() + aside, x).sum()
    divergence = torch.where(live(x), (log_q.exp() * (log_q - log_p)).sum(2), 0.0).sum() / model.size
    (own,), (other,) = (torch.autograd.grad(part, logits, retain_graph=True) for part in (gain, divergence))
    assert torch.allclose(own, -other, atol=1e-12) and float(own.abs().max()) > 1e-3


def test_the_critic_pays_for_the_symbols_up_to_the_end_alone():
    model = game(weight=0.0)
    torch.nn.init.zeros_(model.critic.last[1].weight)
    x, y = torch.tensor([[1, 2, 0]]), torch.tensor([[0, 0, 0]])
    told = model.critic_loss(x, y, None)
    assert float(told.detach() * model.size) == pytest.approx(4 * np.log(2))
    assert live(torch.tensor([[1, 0, 0], [1, 2, 1], [0, 0, 0]])).sum(1).tolist() == [2, 3, 1]


def test_only_the_player_whose_turn_it_is_learns():
    model = game().train()
    batch = model.prepare({"text": lines(16)})
    for player, loss in model.turns(batch, Clock(0, 1), torch.Generator().manual_seed(0)):
        for name, own in model.players().items():
            told = torch.autograd.grad(loss.mean(), own, allow_unused=True, retain_graph=True)
            assert any(g is not None and g.abs().sum() > 0 for g in told) == (name == player)
    assert model.critic.training  # which the generator's turn looks at without dropout


# -- what it learns ----------------------------------------------------------------------------------------------------


def test_it_learns_the_words_of_a_tiny_language(words):
    drawn = words.sample(300, seed=1, quiet=True)
    law = NGram.learn([words._whole(word) for word in WORDS], len(words.codec.symbols), order=1)
    chance = sum(np.exp(law.log_prob(words._whole(word))) for word in WORDS)
    right = np.mean([word in WORDS for word in drawn])
    assert chance < 0.02 and right > 0.8
    assert min(drawn.count(word) for word in WORDS) > 30  # none of the three is lost


def test_a_seed_is_enough_and_a_saved_model_draws_the_same(words, tmp_path):
    own = words.sample(30, seed=5, quiet=True)
    assert own[:4] == words.sample(4, seed=5, quiet=True) and own != words.sample(30, seed=6, quiet=True)
    words.save(tmp_path / "w.pofx")
    assert pofx.load(tmp_path / "w.pofx").sample(30, seed=5, quiet=True) == own


def test_a_fit_is_reproducible():
    one, other = (pofx.fit(WORDS * 20, model="gan", steps=8, quiet=True, **SMALL) for _ in range(2))
    for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_low_temperature_draws_the_likeliest(words):
    assert len(set(words.sample(50, seed=1, temperature=1e-3, quiet=True))) == 1


def test_a_prompt_is_gone_on_from(words):
    made = words.continue_(["bo"] * 40, seed=0, quiet=True)
    assert all(text.startswith("bo") for text in made) and made.count("bob") > 20


def test_labels_are_a_condition():
    told = ["low", "high"] * 60
    made = pofx.fit(["aa", "bbb"] * 60, labels=told, model="gan", steps=200, quiet=True, **SMALL)
    for label, word in (("low", "aa"), ("high", "bbb")):
        drawn = made.sample(40, given=f"label = {label}", seed=1, quiet=True)
        assert (drawn["text"] == word).mean() > 0.8


# -- what it says ------------------------------------------------------------------------------------------------------


def test_a_fit_says_what_an_n_gram_scores_beside_it(words):
    told = words.provenance["fit"]["beside likelihood"]
    assert "too few" in told  # 18 of 180 lines were kept aside
    many = pofx.fit(WORDS * 100, model="gan", steps=5, quiet=True, **SMALL)
    told = many.provenance["fit"]["beside likelihood"]
    assert "by 5-gram, Kneser-Ney (NEARER)" in told and "autoregressive" in told
    assert told in many.info()


def test_the_evidence_holds_a_twin_beside_it(words):
    words.provenance["fit"]["seconds"] = 2.0
    evidence = words.evaluate(train=WORDS * 60, rows=60, beside="autoregressive", quiet=True)
    assert list(evidence.repetition) == [
        "the model", "autoregressive, as long", "5-gram, Kneser-Ney", "frequencies of symbols", "unseen (floor)",
    ]  # fmt: skip
    assert evidence.repetition["the model"]["distance"] < evidence.repetition["frequencies of symbols"]["distance"]
    assert evidence.nats["its generator"][0] < evidence.nats["frequencies of symbols"][0]
    assert "autoregressive, as long" in evidence.nats and "by autoregressive, as long" in evidence.summary()


def test_who_is_nearer_is_said():
    rng = np.random.default_rng(0)
    real = ["".join(rng.choice(list("ab"), 4)) for _ in range(400)]
    rows = figures_of({"the model": ["b"] * 99, "5-gram, Kneser-Ney": real[:99], "frequencies of symbols": ["a"] * 99},
                      real[100:300], real[300:])  # fmt: skip
    assert "(NEARER)" in nearer(rows)
    rows["the model"], rows["5-gram, Kneser-Ney"] = rows["5-gram, Kneser-Ney"], rows["the model"]
    assert "(farther)" in nearer(rows)
    rows["5-gram, Kneser-Ney"] = rows["the model"]
    assert "(as near)" in nearer(rows)


def test_what_it_cannot_do_is_said(words, tmp_path):
    with pytest.raises(Unsupported, match=r"gives no likelihood.*autoregressive does \(fit --model autoregressive\)"):
        words.log_prob(WORDS)
    with pytest.raises(SpecError, match="expected lines, each drawn to its end, got a document: autoregressive learns"):
        create("gan", spec_of(lines(20) + 1 & 1, ends=False), 0, width=16)
    with pytest.raises(SpecError, match="expected a weight of 0 or above, got -1"):
        create("gan", spec_of(lines(20)), 0, weight=-1.0)
    with pytest.raises(SpecError, match="model 'gan' has no argument objective: it has width"):
        pofx.fit(WORDS * 20, model="gan", objective="hinge", steps=1, quiet=True)
    with pytest.raises(Unsupported, match="expected a model that learns by likelihood beside this one, got 'gan'"):
        words.evaluate(train=WORDS * 60, beside="gan", quiet=True)
    with pytest.raises(SpecError, match="expected a model among"):
        words.evaluate(train=WORDS * 60, beside="nobody", quiet=True)


def test_the_command_line(tmp_path, capsys):
    path, out = tmp_path / "words.txt", str(tmp_path / "w.pofx")
    path.write_text("\n".join(WORDS * 100))
    sizes = ["--set", "width=32", "--set", "depth=1"]
    assert main(["fit", str(path), "--model", "gan", "-o", out, "--steps", "4", *sizes]) == 0
    assert "Distance from unseen lines" in "".join(capsys.readouterr())
    assert main(["evaluate", out, "--beside", "autoregressive", "--quiet"]) == 0
    assert "autoregressive, as long" in capsys.readouterr().out
    assert main(["score", out, str(path), "-o", str(tmp_path / "s.csv"), "--quiet"]) != 0
    assert "autoregressive does" in capsys.readouterr().err
    drawn = tmp_path / "new.txt"
    assert main(["sample", out, "-n", "3", "--seed", "1", "-o", str(drawn), "--quiet"]) == 0
    assert len(drawn.read_text().splitlines()) == 3


# -- the figures -------------------------------------------------------------------------------------------------------


def test_the_distance_of_runs():
    assert gram_distance(WORDS, WORDS) == 0 and gram_distance(["aaaa"], ["bbbb"]) > 0.8
    assert gram_distance(["ab"], ["ba"], longest=1) == 0  # the same characters
    assert gram_distance(["ab"], ["ba"], longest=2) == pytest.approx(0.5)  # no pair in common
    assert entropy(["abab"]) == pytest.approx(np.log(2))


def test_validation_sees_the_same_distance_as_the_metric():
    x, y = every(3)[torch.tensor([1, 4, 9, 14])], every(3)[torch.tensor([2, 4, 5, 8])]
    spelled = [["".join("_ab"[i] for i in row if i) for row in part.tolist()] for part in (x, y)]
    whole = [[line for line in part if len(line) < 3] for part in spelled]
    codes = [part[(part == 0).any(1)] for part in (x, y)]  # with their END, as the metric sees all lines
    own = np.mean([variation(runs(codes[0], n, 3), runs(codes[1], n, 3)) for n in range(1, 5)])
    assert own == pytest.approx(gram_distance(whole[0], whole[1]), abs=1e-6)


def test_draws_of_an_n_gram_follow_it():
    rng = np.random.default_rng(0)
    learned = [np.append(rng.integers(1, 3, rng.integers(0, 4)), 0) for _ in range(60)]
    law = NGram.learn(learned, 3, order=3)
    drawn = [tuple(codes.tolist()) for codes in law.draws(4000, 3, rng)]
    for line in set(drawn):
        mass = np.exp(law.log_prob(np.array([*line, *[0] * (len(line) < 3)])))
        assert abs(drawn.count(line) / 4000 - mass) < 4.5 * np.sqrt(mass * (1 - mass) / 4000)


def test_other_kinds_have_no_twin(tmp_path):
    path = str(tmp_path / "t.pofx")
    import pandas as pd

    pofx.fit(pd.DataFrame({"a": range(100)}), model="independent", quiet=True).save(path)
    assert main(["evaluate", path, "--beside", "autoregressive"]) != 0
    assert issubclass(SpecError, PofxError)


def test_a_resumed_fit_ends_with_the_same_weights():
    x = lines(64)

    def trainer() -> Trainer:
        model = create("gan", spec_of(x), 0, **SMALL)
        torch.manual_seed(0)  # of dropout, as a fit does
        return Trainer(model, model.prepare({"text": x}), None, 3, "cpu")

    first = trainer()
    for _ in range(3):
        first.advance(6)
    held, whole = first.state(), trainer()
    for _ in range(6):
        whole.advance(6)
    rest = trainer()
    rest.restore(*held)
    for _ in range(3):
        rest.advance(6)
    for a, b in zip(whole.model.parameters(), rest.model.parameters(), strict=True):
        assert torch.equal(a, b)
