"""Music in voices: CSV and tracks, codes, a law of any notes given any others, harmonies and bars that are drawn."""

import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch

import pofx
from pofx.cli import main
from pofx.codecs.midi import midi_of, read_score
from pofx.codecs.music_io import holds_music, read_pieces, write_pieces
from pofx.codecs.pieces import HOLD, Piece, Pieces
from pofx.codecs.voices import VoicesCodec
from pofx.errors import CodecError, SpecError, Unsupported
from pofx.fields import Voice
from pofx.metrics.chords import share_consonant
from pofx.metrics.voices import apart
from pofx.models import create
from pofx.models.model import Clock
from pofx.spec import Block, Spec

TRIADS = [(67, 64, 60, 48), (67, 62, 59, 43), (69, 65, 60, 53), (71, 62, 55, 43)]


def lines(seed: int, quarters: int = 12) -> np.ndarray:
    """Pitches (steps, 4) of chords that the soprano tells, but for one of two."""
    rng = np.random.default_rng(seed)
    return np.repeat(np.array([TRIADS[i] for i in rng.integers(0, 4, quarters)]), 4, 0)


def csv(pitches: np.ndarray) -> str:
    head = ",".join(f"note{v}" for v in range(pitches.shape[1]))
    return "\n".join([head, *(",".join(map(str, row)) for row in pitches), ""])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("chorales")
    for part, seeds in (("train", range(24)), ("valid", range(30, 34)), ("test", range(40, 46))):
        (root / part).mkdir()
        for seed in seeds:
            (root / part / f"chorale_{seed}.csv").write_text(csv(lines(seed)))
    return root


@pytest.fixture(scope="module")
def fitted(folder):
    words = {"width": 32, "heads": 2, "depth": 1, "dropout": 0.0, "context": 16, "transpose": 0}
    return pofx.fit(folder, model="any_order", steps=150, reading={"grid": 1}, quiet=True, threads=1, **words)


# -- in and out --------------------------------------------------------------------------------------------------------


def test_folders_archives_and_files_of_csv_are_read_with_their_split(folder, tmp_path):
    archive = tmp_path / "chorales.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname=".")
    for source in (folder, archive):
        assert holds_music(source)
        pieces, container = read_pieces(source)
        assert container == "folder" and pieces.voices == 4 and np.bincount(pieces.part).tolist() == [24, 4, 6]
        assert pieces.notes["split"] == "the folders' own: 24, 4, 6"
    one = read_pieces(folder / "test" / "chorale_40.csv")[0].pieces[0]
    assert (one.lines == lines(40)).all() and one.grid == 4
    assert (read_pieces(folder / "test" / "chorale_40.csv", grid=1)[0].pieces[0].lines == lines(40)[::4]).all()
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    assert not holds_music(tmp_path / "table.csv")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("note0,note1\n60,x\n", "whole pitches"),
        ("note0,note1\n60,200\n", "from 0 to 127"),
        ("note0,note1\n60\n", "a pitch of each"),
        ("note0,note1\n", "a pitch of each"),
        ("note0,other\n60,61\n", "columns note0"),
    ],
)
def test_what_is_no_csv_of_voices(tmp_path, text, words):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(CodecError, match=words):
        read_pieces(tmp_path / "a.csv")


def test_damaged_archives_and_odd_grids(folder, tmp_path):
    (tmp_path / "a.tgz").write_bytes(b"no archive")
    with pytest.raises(CodecError, match="could not read the archive"):
        read_pieces(tmp_path / "a.tgz")
    with pytest.raises(CodecError, match="grid of 1, 2 or 4"):
        read_pieces(folder, grid=3)


def test_repeats_are_held_and_tracks_come_back():
    piece = Piece.of_lines(np.array([[60, 48], [60, 0], [62, 48], [62, 48]]))
    assert piece.voices.tolist() == [[60, 48], [60 + HOLD, 0], [62, 48], [62 + HOLD, 48 + HOLD]]
    struck = Piece.of_voices(np.array([[60, 60], [60, 60 + HOLD], [0, 62 + HOLD]]))
    assert struck.voices.tolist() == [[60, 60], [60, 60 + HOLD], [0, 62]]  # nothing to hold on
    pytest.importorskip("symusic")
    for own in (piece, struck):
        back = read_score(midi_of(own), "a.mid", own.grid)
        assert back.voices.tolist() == own.voices.tolist()
    chords = read_score(midi_of(Piece.of_chords([[60, 64], [62]])), "a.mid", 1)
    assert chords.voices is None and chords.roll.any()


def test_each_voice_keeps_its_program(tmp_path):
    lines = np.array([[72, 64, 48], [72, 65, 50], [74, 67, 0]] * 4)
    piece = Piece.of_lines(lines, grid=4, programs=(73, 40, 32))
    again = read_score(midi_of(piece), "a.mid", 4)
    assert again.programs == (73, 40, 32) and np.array_equal(again.lines, lines)
    codec = VoicesCodec.learn(Pieces((again, again, replace(again, programs=(73, 40, 33)))))
    codec = VoicesCodec.from_json(*codec.to_json())
    drawn = codec.decode(codec.encode(Pieces((again,)))).pieces[0]
    assert drawn.programs == (73, 40, 32) and read_score(midi_of(drawn), "b.mid", 4).programs == (73, 40, 32)
    assert again.transposed(2).programs == (73, 40, 32)
    alone = replace(piece, programs=())
    assert read_score(midi_of(alone), "c.mid", 4).programs == (0, 0, 0)


def test_pieces_are_written_as_csv(tmp_path):
    piece = Piece.of_lines(lines(0)[::4], grid=1)
    write_pieces([piece], tmp_path / "a.csv")
    assert (read_pieces(tmp_path / "a.csv", grid=1)[0].pieces[0].voices == piece.voices).all()
    with pytest.raises(CodecError, match=r"write a \.mid"):
        write_pieces([Piece.of_chords([[60]])], tmp_path / "b.csv")


def test_codes_come_back_and_pitches_beyond_them_do_not():
    pieces = Pieces(tuple(Piece.of_lines(np.where(lines(i) == 55, 0, lines(i)), grid=4) for i in range(5)))
    codec = VoicesCodec.learn(pieces)
    x = codec.encode(pieces, strict=True)
    assert x["music"].shape[1] % 4 == 0 and (x["music"][:, -4:] == 0).all()
    again = VoicesCodec.from_json(*codec.to_json())
    assert all((a.voices == b.voices).all() for a, b in zip(again.decode(x).pieces, pieces.pieces, strict=True))
    assert codec.pitches == (38, 77) and codec.names == ("soprano", "alto", "tenor", "bass")
    high = Pieces((pieces.pieces[0].transposed(24),))
    with pytest.raises(CodecError, match="expected pitches from 38 to 77"):
        codec.encode(high, strict=True)
    assert codec.decode(codec.encode(high)).pieces[0].lines.max() <= 77
    with pytest.raises(CodecError, match="pieces of 4 voices"):
        codec.encode(Pieces((Piece.of_lines(lines(0)[:, :2], grid=4),)))


# -- the law -----------------------------------------------------------------------------------------------------------


def small(steps: int, voices: int = 2, **words):
    """A model of three codes and an END whose logits are not even."""
    v = np.ones((4, (steps + 1) * voices), np.int64)
    v[:, -voices:] = 0
    field = Voice.learn("music", v, ("", "-", "60", "61"), voices=voices)
    spec = Spec((Block("music", (field,), (v.shape[1],)),))
    model = create("any_order", spec, width=8, heads=2, depth=1, **words)
    model.start((torch.from_numpy(v),))
    torch.manual_seed(0)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.7)
    return model.eval()


def test_the_bound_of_voices_given_others_is_below_what_the_law_of_one_order_sums_to():
    """With one hidden site the bound is its law, which sums to one whatever the rest."""
    model = small(2)
    x = torch.tensor([[1, 2, 3, 1, 0, 0]])
    free = torch.tensor([[False, False, True, False, False, False]])
    total = 0.0
    for code in (1, 2, 3):
        x[0, 2] = code
        total += float(model.conditional(x, free, 3, 0).exp())
    assert total == pytest.approx(1, abs=1e-5)


def test_what_is_hidden_says_nothing_and_windows_agree_with_their_middle():
    model = small(20, context=8)
    x = torch.randint(1, 4, (2, 42), generator=torch.Generator().manual_seed(1))
    x[:, 40:] = 0
    hidden = torch.rand(2, 42, generator=torch.Generator().manual_seed(2)) < 0.5
    hidden[:, 40:] = False
    sizes = torch.tensor([40, 40])
    with torch.no_grad():
        law = model._law(x, hidden, sizes)
        other = model._law(torch.where(hidden, 3, x), hidden, sizes)
        part = model._told(
            x[:, 8:24].unflatten(1, (-1, 2)), hidden[:, 8:24].unflatten(1, (-1, 2)), torch.tensor([4, 4]), sizes // 2
        )
    assert torch.equal(law, other) and law.shape == (2, 42, 4)
    assert torch.allclose(law[:, 12:20], part.flatten(1, 2)[:, 4:12], atol=1e-6)
    assert (law[..., 0] < -1e8).all() or (law[:, 40:] == 0).all()


@pytest.mark.parametrize("steps", [3, 8, 9, 30])
def test_pieces_of_any_length_are_filled_and_what_is_seen_stays(steps):
    model = small(8, context=8)
    x = torch.ones(2, 2 * steps + 2, dtype=torch.long)
    x[:, ::2], x[:, 2 * steps :] = 3, 0
    seen = torch.arange(x.shape[1]).expand(x.shape) % 2 == 0
    u = torch.rand(2, 2 * x.shape[1], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        out = model.filled(x, torch.tensor([2 * steps, 2 * steps]), u, seen)
    assert torch.equal(out[seen], x[seen]) and (out[:, : 2 * steps] > 0).all() and (out[:, 2 * steps :] == 0).all()
    assert np.isfinite(model.log_prob({"music": out.numpy()})).all()


@pytest.mark.parametrize("voices", [1, 2, 3, 5])
def test_music_in_any_number_of_voices_is_scored(voices):
    pieces = Pieces(
        tuple(Piece.of_lines(np.tile(lines(s, q), 2)[:, :voices]) for s, q in enumerate((5, 7, 9, 12, 3, 8, 6, 4, 5)))
    )
    codec = VoicesCodec.learn(pieces)
    model = create("any_order", codec.spec, 0, width=32, heads=2, depth=1, context=16).eval()
    sites = torch.tensor([voices * len(piece) for piece in pieces.pieces])
    wanted = model._length(sites) - sites * np.log(model.symbols - 1)  # an untaught law has every code alike
    np.testing.assert_allclose(model.log_prob(codec.encode(pieces)), wanted.numpy(), rtol=1e-5)


def test_free_sites_are_voices_bars_or_all():
    model = small(8, voices=4, context=8)
    free = model._free(torch.ones(600, 8, 4, dtype=torch.long), torch.Generator().manual_seed(0))
    voice, step = free.all(1), free.all(2)
    by_voice = (free == voice[:, None]).flatten(1).all(1)
    by_step = (free == step[:, :, None]).flatten(1).all(1)
    assert (by_voice | by_step).all()
    alone = (voice == torch.tensor([False, True, True, True])).all(1) & by_voice
    assert 0.1 < alone.float().mean() < 0.35 and 0.2 < free.flatten(1).all(1).float().mean() < 0.5


def test_transposition_keeps_intervals_and_codes_that_there_are():
    model = small(8, voices=4, context=8, transpose=3)
    x = torch.tensor([[[1, 2, 3, 0]]]).expand(50, 2, 4)
    moved = model._transposed(x, torch.Generator().manual_seed(0))
    assert torch.equal(moved, x)  # both pitches are taken: nowhere to go
    low = torch.tensor([[[1, 2, 2, 0]]]).expand(50, 2, 4)
    assert set(model._transposed(low, torch.Generator().manual_seed(0))[:, 0, 1].tolist()) == {2, 3}
    assert model.loss((low.flatten(1),), Clock(0, 10), torch.Generator().manual_seed(0)).isfinite().all()


# -- figures -----------------------------------------------------------------------------------------------------------


def test_consonance_and_laws_of_single_voices():
    roll = np.zeros((2, 128), bool)
    roll[0, [60, 64, 67]] = roll[1, [60, 61]] = True
    assert share_consonant([roll]) == 0.75
    told = apart([np.array([[60, 48]] * 9 + [[62, 50]])], [np.array([[60, 48], [60, 50]])])
    f, r = (9 + 0.5 / 128) / 10.5, (8 + 0.5) / 10
    assert told["frequencies"][0, 0] == pytest.approx(2 * np.log(f))
    assert told["repeats"][0, 0] == pytest.approx(np.log(f) + np.log(r + (1 - r) * f))
    assert told["repeats"][0, 1] < told["repeats"][0, 0]


# -- verbs -------------------------------------------------------------------------------------------------------------


def test_a_melody_is_harmonised(fitted, tmp_path):
    """The soprano tells the chord, but for one of two: the drawn ones are those."""
    assert "soprano, alto, tenor, bass" in fitted._shape()
    melody = lines(99)[::4, 0].tolist()
    (piece,) = fitted.complete(melody, seed=1)
    assert piece.lines[:, 0].tolist() == melody
    bold = fitted.complete(melody, draws=8, temperature=0.5, seed=1)
    right = [tuple(row) in TRIADS for one in bold for row in one.lines.tolist()]
    assert np.mean(right) > 0.7  # by chance .02
    again = fitted.complete(melody, seed=1, draws=2)
    assert (again[0].voices == piece.voices).all() and len(again) == 2
    assert (fitted.complete(melody, seed=2, temperature=0.1)[0].lines != piece.lines).any()


def test_bars_are_filled_and_the_rest_stays(fitted):
    piece = Piece.of_lines(lines(41)[::4], grid=1)
    (drawn,) = fitted.complete(piece, bars=(2, 2), seed=0)
    assert (np.delete(drawn.lines, slice(4, 8), 0) == np.delete(piece.lines, slice(4, 8), 0)).all()
    assert len({fitted.complete(piece, bars=(2, 2), seed=s)[0].roll.tobytes() for s in range(5)}) > 1
    (bass,) = fitted.complete(piece, voices=("soprano", "alto", "tenor"), bars=(1, 2), seed=0)
    assert (bass.lines[:, :3] == piece.lines[:, :3]).all() and (bass.lines[8:] == piece.lines[8:]).all()


def test_struck_notes_of_a_melody_stay_struck(fitted):
    melody = Piece.of_voices(np.full((8, 1), 67), grid=1)  # eight strokes
    (piece,) = fitted.complete(melody, seed=0)
    assert (piece.voices[:, 0] == 67).all()


def test_what_cannot_be_filled(fitted):
    piece = Piece.of_lines(lines(41)[::4], grid=1)
    melody = piece.lines[:, 0].tolist()
    for words, error, match in (
        ({}, SpecError, "voices or bars to draw"),
        ({"bars": (0, 1)}, SpecError, "bars from 1 to 3"),
        ({"bars": (1, 9)}, SpecError, "bars from 1 to 3"),
        ({"voices": "treble"}, SpecError, "expected voices among soprano"),
        ({"voices": fitted.codec.names}, SpecError, "all is known"),
        ({"bars": (1, 1), "draws": 0}, SpecError, "a draw or more"),
    ):
        with pytest.raises(error, match=match):
            fitted.complete(piece, **words)
    with pytest.raises(Unsupported, match="draw the voices first"):
        fitted.complete(melody, bars=(1, 1))
    with pytest.raises(SpecError, match="names of 1 voices"):
        fitted.complete(melody, voices=("alto", "bass"))
    with pytest.raises(CodecError, match="got chords"):
        fitted.complete(Piece.of_chords([[60, 64]]))
    for odd in ([60, None], [[60], [60, 62]], ["60"]):
        with pytest.raises(CodecError, match="expected a melody"):
            fitted.complete(odd)
    with pytest.raises(CodecError, match="transpose it"):
        fitted.complete([120] * 4)
    with pytest.raises(Unsupported, match="does not go on"):
        fitted.continue_(piece)


def test_samples_scores_and_evidence(fitted, folder, tmp_path):
    drawn = fitted.sample(3, seed=0)
    assert all(piece.voices.shape[1] == 4 for piece in drawn)
    told = fitted.log_prob(folder / "test", detail=True)
    assert (told["steps"] == 12).all() and (told["nats_a_step"] < 6).all()
    evidence = fitted.evaluate(rows=4, report=tmp_path / "a.html", quiet=True)
    nats = {name: value for name, (value, _) in evidence.nats.items()}
    assert nats["the model, given the first (bound)"] < 0.5 * nats["5-gram, all but the first"]
    assert nats["the model, given the first (bound)"] < nats["the model, all voices (bound)"]
    assert set(evidence.sound) == {"drawn", "harmonised", "training", "unseen (floor)"}
    assert "beats voices by themselves" in evidence.summary() and (tmp_path / "a.html").stat().st_size


def test_the_command_line(fitted, folder, tmp_path, capsys):
    pytest.importorskip("symusic")
    model = tmp_path / "bach.pofx"
    fitted.save(model)
    (tmp_path / "melody.mid").write_bytes(midi_of(Piece.of_lines(lines(7)[::4, :1], grid=1)))
    out = tmp_path / "harmonised.mid"
    assert main(["complete", str(model), str(tmp_path / "melody.mid"), "-o", str(out), "--quiet"]) == 0
    made = read_score(out.read_bytes(), "a.mid", 1)
    assert made.voices.shape[1] == 4 and (made.lines[:, 0] == lines(7)[::4, 0]).all()
    words = ["--bars", "1-2", "--voices", "soprano", "--temperature", "0.5", "--draws", "2", "--quiet"]
    source = folder / "test" / "chorale_40.csv"
    assert main(["complete", str(model), str(source), "-o", str(tmp_path / "b.csv"), *words]) == 0
    kept = read_pieces(tmp_path / "b-2.csv", grid=1)[0].pieces[0].lines
    assert (kept[8:] == lines(40)[::4][8:]).all() and (kept[:, 0] == lines(40)[::4, 0]).all()
    assert main(["complete", str(model), str(source), "-o", str(out), "--bars", "x"]) != 0


def test_voices_may_be_learned_as_chords(folder):
    fitted = pofx.fit(folder, model="autoregressive", steps=2, reading={"grid": 1}, quiet=True, width=8, heads=2)
    assert fitted.codec.kind == "music"
    with pytest.raises(SpecError, match="does not learn music"):
        pofx.fit([Piece.of_chords([[60, 64]] * 4)] * 9, model="any_order", steps=2, quiet=True)
    with pytest.raises(SpecError, match="music in voices"):
        create("autoregressive", VoicesCodec.learn(read_pieces(folder)[0]).spec)


def test_one_voice_and_the_model_that_is_chosen():
    tune = [Piece.of_lines(lines(i)[::4, :1], grid=1) for i in range(12)]
    assert pofx.fit(tune, steps=2, quiet=True, width=8, heads=2).codec.kind == "music"
    alone = pofx.fit(tune, model="any_order", steps=2, quiet=True, width=8, heads=2)
    assert alone.codec.names == ("voice1",) and len(alone.sample(1, seed=0)) == 1
    pairs = [Piece.of_lines(lines(i)[::4, :2], grid=1) for i in range(12)]
    assert pofx.fit(pairs, steps=2, quiet=True, width=8, heads=2).codec.names == ("voice1", "voice2")
