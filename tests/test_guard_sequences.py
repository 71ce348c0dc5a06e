"""The guard on text, music and sounds: real examples in place of samples are not accused, failures are named."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import pofx
from pofx.cli import main
from pofx.errors import Failed
from pofx.fields import Level, Note, Token, Voice
from pofx.metrics import count, take
from pofx.metrics.runs import Seen, runs
from pofx.models import create
from pofx.spec import Block, Columns, Spec
from pofx.training.examination import Examiner
from pofx.training.excerpts import apart, excerpts, roll_of, trivial
from pofx.training.guard import final, sampler, watch
from pofx.training.verdict import judge

WORDS = ("red", "green", "blue", "old", "new", "tall"), ("cat", "dog", "bird", "horse", "mouse"), ("runs", "sleeps")
LETTERS = ("", *"abcdefghijklmnopqrstuvwxyz ")
WORSE = {"little skill", "no better than trivial", "worse than trivial"}
Draws = Callable[[int, int], Columns]


def sentences(n: int, seed: int) -> list[str]:
    """Lines of a small grammar, and a few letters of chance, so that few are alike."""
    rng = np.random.default_rng(seed)
    tails = ["".join(rng.choice(list("aeiou"), 3)) + "n" + rng.choice(list("lrst")) for _ in range(n)]
    return [" ".join([*(str(rng.choice(w)) for w in WORDS), tail]) for tail in tails]


def coded(lines: list[str], sites: int = 28) -> Columns:
    """Codes (n, T) of lines."""
    rows = np.zeros((len(lines), sites), np.int32)
    for row, line in zip(rows, lines, strict=True):
        row[: len(line)] = [LETTERS.index(c) for c in line][:sites]
    return {"text": rows}


def of_lines(train: Columns) -> Spec:
    return Spec((Block("text", (Token.learn("text", train["text"], LETTERS),), train["text"].shape[1:]),))


def names(examiner: Examiner, draws: Draws) -> dict[str, int]:
    """The findings on samples, and their levels."""
    found = examiner.examine(draws(examiner.n, 5), draws(examiner.again, 6))
    return {f.name: f.level for f in judge(found).findings}


@pytest.fixture(scope="module")
def lines() -> Examiner:
    train = coded(sentences(2000, 0))
    return Examiner(of_lines(train), train, coded(sentences(400, 1)))


# -- exact copies ------------------------------------------------------------------------------------------------------


def test_runs_are_found_wherever_they_begin() -> None:
    text = np.random.default_rng(0).integers(0, 30, (3, 50))
    held = runs(text, 8)
    assert held.shape == (3, 43) and len(np.unique(held)) == held.size
    assert (runs(text[:, 11:19], 8)[:, 0] == held[:, 11]).all()


def test_a_law_without_memory_draws_training_lines_as_often_as_others() -> None:
    """Of a file of different lines, no held-out one is in training, but any law draws some of both."""
    rng = np.random.default_rng(0)
    seen = Seen.of(np.arange(8000), np.arange(8000, 9000), np.arange(8000, 9000))
    near, floor, error = seen.shares(rng.integers(0, 20_000, 1000))
    assert near == pytest.approx(0.4, abs=0.05)
    assert floor == pytest.approx(0.4, abs=3 * error)
    near, floor, error = seen.shares(rng.integers(0, 8000, 1000))
    assert near == 1 and floor + 3 * error < 0.1


# -- text --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_other_lines_of_the_same_law_are_not_accused(seed: int) -> None:
    train = coded(sentences(2000, 10 * seed))
    examiner = Examiner(of_lines(train), train, coded(sentences(400, 10 * seed + 1)), seed)
    assert names(examiner, lambda n, key: coded(sentences(n, 1000 * seed + key + 7))) == {}


def test_lines_of_one_kind_and_one_line_again_are_named(lines: Examiner) -> None:
    one = names(lines, lambda n, key: coded(["red cat sleeps aaant"] * n))
    assert one["repeats"] == one["collapse"] == one["low coverage"] == 2 and WORSE & set(one)
    kind = names(lines, lambda n, key: coded(["red cat" + line[-13:] for line in sentences(n, key)]))
    assert kind["missed modes"] == 2 and {"low coverage", "collapse"} & set(kind)


def test_training_lines_are_named(lines: Examiner) -> None:
    train = sentences(2000, 0)
    found = names(lines, lambda n, key: coded([train[i] for i in np.random.default_rng(key).integers(0, 2000, n)]))
    assert found["copies"] == 2
    third = names(lines, lambda n, key: coded([*sentences(n - n // 3, key + 70), *train[: n // 3]]))
    assert third == {"copies": 1}


def test_letters_drawn_alone_are_named(lines: Examiner) -> None:
    found = names(lines, lambda n, key: trivial(lines.spec, lines.train, n, np.random.default_rng(key)))
    assert found["no better than trivial"] == 2 and found["told apart"] == 1


def test_a_missed_group_of_lines_is_shown_by_one_of_them(lines: Examiner) -> None:
    fake = coded([line for line in sentences(4 * lines.n, 3) if " horse " not in line][: lines.n])
    more = coded([line for line in sentences(4 * lines.again, 4) if " horse " not in line][: lines.again])
    missed = lines.examine(fake, more).missed
    assert all(c.where.startswith("such as '") for c in missed)


def test_a_model_without_a_fit_is_named_and_one_without_numbers() -> None:
    train, held = coded(sentences(600, 0)), coded(sentences(100, 1))
    model = create("autoregressive", of_lines(train), 0, width=16, depth=1).eval()
    model.start(model.prepare(train))
    guard = watch(model, train, held, 0)
    assert guard is not None
    said = final(guard, model, train, {})
    assert said.word == "FAIL"
    assert (WORSE - {"little skill"}) & {f.name for f in said.findings}
    next(iter(model.parameters())).data[0] = float("nan")
    told = final(guard, model, train, {})
    assert told.refused and [f.name for f in told.findings] == ["not finite"]


def test_a_fit_of_lines_ends_with_a_verdict_that_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "lines.txt", tmp_path / "lines.pofx"
    path.write_text("\n".join(sentences(700, 2)))
    words = ["--set", "width=16", "--set", "depth=1", "--threads", "1", "--quiet"]
    assert main(["fit", str(path), "-o", str(out), "--steps", "2", *words]) == 1
    model = pofx.load(out)
    assert model.verdict == "FAIL" and model.reasons()
    assert main(["info", str(out)]) == 0 and "verdict    FAIL: skill" in capsys.readouterr().out
    figures = model.provenance["verdict"]["figures"]
    assert set(figures["skill"]) == {"n-grams", "gaps"} and figures["near error"] is not None
    if model.provenance["verdict"]["refused"]:
        with pytest.raises(Failed, match="--allow-failed"):
            model.sample(2, quiet=True)
        with pytest.raises(Failed, match="--allow-failed"):
            model.continue_("red", quiet=True)
    with pytest.warns(UserWarning, match="the fit of this model failed"):
        assert len(model.sample(2, seed=0, quiet=True, allow_failed=True)) == 2
    with pytest.warns(UserWarning, match="the fit of this model failed"):
        model.continue_("red", seed=0, quiet=True, allow_failed=True)
    model.evaluate(rows=20, report=tmp_path / "page.html", quiet=True)
    page = (tmp_path / "page.html").read_text()
    assert "The fit ended with FAIL" in page and "n-grams" in page
    assert main(["fit", str(path), "-o", str(out), "--steps", "2", "--no-guard", *words]) == 0
    assert pofx.load(out).verdict == ""


@pytest.mark.guarded
def test_few_lines_are_too_few_and_copies_of_them_are_warned_of() -> None:
    model = pofx.fit(sentences(100, 0), steps=2, width=16, depth=1, threads=1, quiet=True)
    assert model.verdict == "WARN" and "too few to judge by" in model.reasons()[0]


# -- documents ---------------------------------------------------------------------------------------------------------


def stretches(sentence_count: int, seed: int, sites: int = 64) -> Columns:
    """The rows of a document of sentences, T codes that begin every T / 2."""
    text = " ".join(sentences(sentence_count, seed))
    codes = np.array([LETTERS.index(c) - 1 for c in text], np.int32)
    view = np.lib.stride_tricks.sliding_window_view(codes, sites)
    return {"text": view[:: sites // 2].copy()}


def test_stretches_of_a_document_are_judged_in_windows() -> None:
    train, held = stretches(1500, 0), stretches(300, 1)
    spec = Spec((Block("text", (Token.learn("text", train["text"], LETTERS[1:], ends=False),), (64,)),))
    assert len(apart(spec, train)) == -(-count(train) // 2)
    cut, owner = excerpts(spec, held, 9, np.random.default_rng(0))
    assert cut["text"].shape == (2 * count(held), 32) and (owner == np.repeat(np.arange(count(held)), 2)).all()
    examiner = Examiner(spec, train, held)
    other = stretches(2000, 2)
    assert names(examiner, lambda n, key: take(other, 2 * np.arange(n) + 600 * (key - 5))) == {}
    parrot = names(examiner, lambda n, key: take(train, 2 * np.arange(n)))
    assert parrot["copies"] == 2


# -- music -------------------------------------------------------------------------------------------------------------

TOP = 78
CHORDS = ((0, 4, 7), (5, 9, 12), (7, 11, 14), (9, 12, 16))


def pieces(n: int, seed: int, voices: bool = False) -> Columns:
    """Pieces of chords of one key, from one to the next as their law says, with a tune on top."""
    rng = np.random.default_rng(seed)
    law = np.array([[0.4, 0.3, 0.2, 0.1], [0.2, 0.3, 0.4, 0.1], [0.6, 0.1, 0.2, 0.1], [0.1, 0.5, 0.2, 0.2]])
    out = np.zeros((n, 300), np.int32)
    for row in out:
        chord, codes = int(rng.integers(4)), []
        for step in range(int(rng.integers(36, 56))):
            if step % 2 == 0:
                chord = int(rng.choice(4, p=law[chord]))
            tune = 60 + CHORDS[chord][int(rng.integers(3))] - 12 * (rng.random() < 0.3)
            notes = sorted({48 + CHORDS[chord][0], 48 + CHORDS[chord][1], tune}, reverse=True)
            if voices:
                codes += [max(note - 30, 2) for note in (tune, 48 + CHORDS[chord][1], 48 + CHORDS[chord][0])]
            else:
                codes += [2 + TOP - note for note in notes] + [1]
        row[: len(codes)] = codes
    return {"music": out}


def of_music(train: Columns, voices: bool = False) -> Spec:
    if voices:
        levels = ("", "-", *map(str, range(32, 90)))
        return Spec((Block("music", (Voice.learn("music", train["music"], levels, voices=3),), (300,)),))
    levels = ("", "|", *map(str, range(TOP, 40, -1)))
    return Spec((Block("music", (Note.learn("music", train["music"], levels),), (300,)),))


def test_a_roll_is_what_codes_say() -> None:
    train = pieces(3, 0)
    field = of_music(train).fields[0]
    assert isinstance(field, Note)
    roll = roll_of(field, np.array([2, 6, 1, 1, 4, 1, 0, 0]))
    assert roll.shape == (3, 128) and np.argwhere(roll).tolist() == [[0, TOP - 4], [0, TOP], [2, TOP - 2]]
    voice = of_music(pieces(3, 0, True), True).fields[0]
    assert isinstance(voice, Voice)
    lines = roll_of(voice, np.array([10, 5, 1, 10, 6, 1, 0, 0, 0]))
    assert lines.shape == (2, 128) and lines[:, 40].tolist() == [2, 1] and lines[1, 36] == 2 and not lines[1, 35]


@pytest.mark.parametrize("voices", [False, True], ids=["chords", "voices"])
def test_music_of_the_same_law_is_not_accused_and_failures_are_named(voices: bool) -> None:
    train = pieces(200, 0, voices)
    for seed in range(3):
        examiner = Examiner(of_music(train, voices), train, pieces(60, 30 + seed, voices), seed)
        assert examiner.shape == "rolls" and examiner.enough
        found = names(examiner, lambda n, key, s=seed: pieces(max(n, 1), 100 + 10 * s + key, voices))
        assert found == {}
    one = names(examiner, lambda n, key: take(pieces(1, 9, voices), np.zeros(max(n, 1), int)))
    assert one["repeats"] == one["collapse"] == 2
    parrot = names(examiner, lambda n, key: take(train, np.random.default_rng(key).integers(0, 200, max(n, 1))))
    assert parrot["copies"] == 2
    rng = np.random.default_rng(0)

    def chance(n: int, key: int) -> Columns:
        x = pieces(max(n, 1), key, voices)["music"]
        for row in x:
            note = row > 1
            row[note] = rng.permutation(row[note]) if voices else row[note]
        return {"music": x if voices else np.where(x > 1, rng.integers(2, 30, x.shape), x)}

    bad = names(examiner, chance)
    assert WORSE & set(bad)


def test_an_unfitted_model_of_music_is_named_within_what_it_may_cost() -> None:
    train, held = pieces(60, 0, True), pieces(30, 1, True)
    model = create("any_order", of_music(train, True), 0, width=16, heads=2, depth=1, rounds=8).eval()
    model.start(model.prepare(train))
    guard = watch(model, train, held, 0)
    assert guard is not None and guard.examiner.enough
    assert final(guard, model, train, {}).word == "FAIL"


# -- sounds ------------------------------------------------------------------------------------------------------------


def beeps(n: int, seed: int) -> Columns:
    """Levels of tones that rise or fall, as their label says, of many lengths and heights."""
    rng = np.random.default_rng(seed)
    label, t, f = rng.integers(0, 2, n), np.arange(24)[:, None], np.arange(33)
    x = np.zeros((n, 24, 33))
    for i in range(n):
        at = rng.uniform(8, 24) + rng.uniform(0.2, 0.5) * (2 * label[i] - 1) * (t - 12)
        x[i] = 200 * np.exp(-np.square((f - at) / rng.uniform(1, 3))) * (t < rng.integers(12, 24))
        x[i] += (x[i] > 1) * rng.normal(0, 10, (24, 33))
    return {"level": x.clip(0, 255).astype(np.uint8), "label": label.astype(np.int32)}


@pytest.mark.parametrize("labelled", [False, True])
def test_sounds_of_the_same_law_are_not_accused_and_failures_are_named(labelled: bool) -> None:
    from pofx.fields import Category

    def of(n: int, seed: int) -> Columns:
        x = beeps(n, seed)
        return x if labelled else {"level": x["level"]}

    train = of(600, 0)
    under = Spec((Block("label", (Category.learn("label", train["label"], ("up", "down")),)),)) if labelled else None
    spec = Spec((Block("sound", (Level.learn("level", train["level"]),), (24, 33)),), under)
    for seed in range(2):
        examiner = Examiner(spec, train, of(200, 10 + seed), seed)
        assert set(examiner.real) == {"cepstra", "recogniser" if labelled else "random"}
        assert names(examiner, lambda n, key, s=seed: of(n, 100 + 10 * s + key)) == {}
    one = names(examiner, lambda n, key: take(of(1, 3), np.zeros(n, int)))
    assert one["repeats"] == one["collapse"] == one["low coverage"] == 2
    assert names(examiner, lambda n, key: take(train, np.random.default_rng(key).integers(0, 600, n)))["copies"] == 2
    noise = names(examiner, lambda n, key: trivial(spec, train, n, np.random.default_rng(key)))
    assert WORSE & set(noise), noise
    if labelled:
        wrong = names(examiner, lambda n, key: (x := of(n, key)) | {"label": 1 - x["label"]})
        assert wrong["wrong labels"] == 2


@pytest.mark.guarded
def test_a_fit_of_sounds_ends_with_a_verdict() -> None:
    pytest.importorskip("soundfile", reason="sounds need the extra audio")
    rng = np.random.default_rng(0)
    t = np.arange(2000) / 8000
    clips = [np.sin(2 * np.pi * rng.uniform(300, 2000) * t).astype(np.float32) * 0.3 for _ in range(450)]
    model = pofx.fit((clips, 8000), kind="audio", steps=2, width=16, depth=1, threads=1, quiet=True)
    assert model.verdict == "FAIL" and set(model.provenance["verdict"]["figures"]["skill"]) == {"cepstra", "random"}


def test_draws_of_a_model_come_under_labels_of_training() -> None:
    train = coded(sentences(50, 0))
    model = create("autoregressive", of_lines(train), 0, width=16, depth=1).eval()
    assert sampler(model, train)(3, 0)["text"].shape == (3, 28)
