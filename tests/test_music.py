"""Music: what is read, codes that give it back, a law of legal codes alone, and the verbs on pieces."""

import io
import itertools
import json
import wave
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import pofx
from pofx.cli import main
from pofx.codecs.midi import events_of, midi_of, read_score
from pofx.codecs.music import MusicCodec
from pofx.codecs.music_io import holds_music, read_pieces, write_pieces
from pofx.codecs.pieces import HELD, STRUCK, Piece, Pieces
from pofx.codecs.synth import RATE, sound_of, wave_of
from pofx.errors import CodecError, SpecError, Unsupported
from pofx.fields import Note
from pofx.metrics.chords import Independent, key_distance, share_known, share_repeated
from pofx.models import create
from pofx.spec import Block, Spec

TRIADS = [[48, 60, 64, 67], [47, 62, 65, 67], [45, 60, 64, 69], [43, 59, 62, 67]]


def chorale(seed: int) -> list[list[int]]:
    """Chords of one key in turns, some of them twice."""
    rng = np.random.default_rng(seed)
    by = int(rng.integers(-3, 4))
    return [[p + by for p in TRIADS[i % 4]] for i in range(8) for _ in range(rng.integers(1, 3))]


CHORALES = {
    "train": [chorale(i) for i in range(24)],
    "valid": [chorale(i) for i in range(30, 34)],
    "test": [chorale(i) for i in range(40, 46)],
}


def roll_of(*columns: tuple[int, list[int]]) -> np.ndarray:
    roll = np.zeros((len(columns[0][1]), 128), np.uint8)
    for pitch, states in columns:
        roll[:, pitch] = states
    return roll


HELD_ROLL = roll_of((60, [2, 1, 1, 2, 0]), (64, [0, 2, 2, 1, 0]), (72, [2, 0, 0, 0, 2]))

rolls = arrays.arrays(np.uint8, st.tuples(st.integers(1, 6), st.just(5)), elements=st.integers(0, 2))


def piece_of(small: np.ndarray, held: bool, **more) -> Piece:
    roll = np.zeros((len(small), 128), np.uint8)
    roll[:, 60:65] = small if held else np.where(small > 0, STRUCK, 0)
    return Piece(roll, **more)


# -- in and out --------------------------------------------------------------------------------------------------------


@pytest.fixture
def chorales(tmp_path):
    path = tmp_path / "chorales.json"
    path.write_text(json.dumps(CHORALES))
    return path


def test_what_is_music(tmp_path, chorales):
    assert all(holds_music(s) for s in ("a.mid", "b.MIDI", "c.abc", chorales, [Piece(HELD_ROLL)]))
    (tmp_path / "rows.json").write_text('[{"a": 1}]')
    (tmp_path / "lists.json").write_text("[[1, 2], [3, 4]]")
    no = ("a.csv", tmp_path / "rows.json", tmp_path / "lists.json", [], ["a"], None, np.zeros(3), tmp_path / "no.json")
    assert not any(map(holds_music, no))


def test_the_parts_of_a_file_are_kept(chorales, tmp_path):
    pieces, kind = read_pieces(chorales)
    assert (len(pieces), kind) == (34, "json")
    assert np.bincount(pieces.part).tolist() == [24, 4, 6]
    assert pieces.pieces[3].chords() == [sorted(chord) for chord in CHORALES["train"][3]]
    assert not pieces.held and "24, 4, 6" in pieces.notes["split"]
    (tmp_path / "list.json").write_text(json.dumps([[[60], []], [[]]]))
    bare, _ = read_pieces(tmp_path / "list.json")
    assert bare.part is None and len(bare) == 1 and "1 pieces without a note" in bare.notes["silence"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[[60", "could not read JSON"),
        ('{"train": [[[60]]], "new": []}', "expected parts train, valid and test"),
        ('{"test": [[[60]]]}', "expected pieces for training"),
        ("[[[600]]]", "expected pitches, whole numbers from 0 to 127, got 600"),
        ("[[[60.5]]]", "expected pitches"),
        ("[[[]]]", "none that has a note"),
        ("[[60]]", "list of lists of pitches"),
    ],
)
def test_bad_json_is_refused(tmp_path, text, words):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(CodecError, match=words):
        read_pieces(tmp_path / "a.json")


def test_a_piece_goes_through_midi():
    piece = Piece(HELD_ROLL, 4, 90.0, 19, 77)
    again = read_score(midi_of(piece), "a.mid", 4)
    assert np.array_equal(again.roll, HELD_ROLL)
    assert (again.tempo, again.program, again.velocity) == (pytest.approx(90.0, abs=1e-3), 19, 77)
    assert np.array_equal(read_score(midi_of(piece), "a.mid", 8).roll > 0, np.repeat(HELD_ROLL > 0, 2, 0))
    assert events_of(piece) == [(0, 1, 72), (0, 3, 60), (1, 2, 64), (2, 4, 64), (3, 4, 60), (4, 5, 72)]


@settings(max_examples=25, deadline=None)
@given(small=rolls)
def test_any_piece_goes_through_midi(small):
    piece = piece_of(small, True, grid=4)
    if not piece.roll.any():
        return
    used = len(piece) - int(piece.roll.any(1)[::-1].argmax())
    assert np.array_equal(read_score(midi_of(piece), "a.mid", 4).roll, piece.roll[:used])


def header(kind: int = 0, tracks: int = 1) -> bytes:
    return b"MThd\0\0\0\6" + bytes((0, kind, 0, tracks)) + b"\1\xe0"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "could not be read"),
        (b"nonsense" * 9, "could not be read"),
        (header() + b"MTrk\0\0\0\x99\0\x90\x3c\x40", "could not be read"),
        (header() + b"MTrk\0\0\0\4\0\xff\x2f\0", "holds no notes"),
        (header() + b"MTrk\0\0\0\x08\0\x90\x3c\x40\0\xff\x2f\0", "holds no notes"),  # never let go
        (header(2) + b"MTrk\0\0\0\4\0\xff\x2f\0", "type 2"),
    ],
)
def test_bad_midi_is_refused(tmp_path, data, words):
    (tmp_path / "bad.mid").write_bytes(data)
    with pytest.raises(CodecError, match=words):
        read_pieces(tmp_path / "bad.mid")


def test_folders_and_zips(tmp_path):
    folder = tmp_path / "music"
    folder.mkdir()
    for i in range(3):
        (folder / f"{i}.mid").write_bytes(midi_of(Piece(HELD_ROLL, 4)))
    pieces, kind = read_pieces(folder)
    assert (len(pieces), kind, pieces.held) == (3, "folder", True)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for i in range(3):
            archive.write(folder / f"{i}.mid", f"deep/{i}.mid")
    assert holds_music(tmp_path / "all.zip") and holds_music(folder)
    assert read_pieces(tmp_path / "all.zip")[0].fingerprint() == pieces.fingerprint()
    (folder / "bad.mid").write_bytes(b"no")
    with pytest.raises(CodecError, match=r"bad.mid could not be read.*broken='skip'"):
        read_pieces(folder)
    left, _ = read_pieces(folder, broken="skip")
    assert len(left) == 3 and "bad.mid" in left.notes["broken"]
    with pytest.raises(CodecError, match="found nothing"):
        read_pieces(tmp_path / "none.mid")
    with pytest.raises(SpecError, match="'refuse' or 'skip'"):
        read_pieces(folder, broken="maybe")
    with pytest.raises(SpecError, match="a grid of 1 to 96"):
        read_pieces(folder, grid=0)


def test_abc_is_read(tmp_path):
    (tmp_path / "a.abc").write_text("X:1\nT:a\nM:4/4\nL:1/4\nK:C\nC E G2|[CEG]4|\n")
    piece = read_pieces(tmp_path / "a.abc", grid=1)[0].pieces[0]
    assert piece.chords()[:3] == [[60], [64], [67]]
    assert piece.chords()[4] == [60, 64, 67]


def test_pieces_are_written(tmp_path):
    pieces = [Piece(HELD_ROLL, 4), Piece(HELD_ROLL, 4).transposed(2)]
    assert write_pieces(pieces, tmp_path / "out") == 2
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "piece-1.mid", "piece-1.wav", "piece-2.mid", "piece-2.wav",
    ]  # fmt: skip
    write_pieces(pieces, tmp_path / "a.json")
    assert [p.chords() for p in read_pieces(tmp_path / "a.json")[0].pieces] == [p.chords() for p in pieces]
    write_pieces(pieces, tmp_path / "b.mid")
    assert np.array_equal(read_pieces(tmp_path / "b-2.mid")[0].pieces[0].roll, pieces[1].roll)
    with pytest.raises(CodecError, match="a .mid, .json or .wav file or a folder"):
        write_pieces(pieces, tmp_path / "a.mp3")
    with pytest.raises(CodecError, match="after moving by 90"):
        pieces[0].transposed(90)
    with pytest.raises(CodecError, match="of 0, 1 and 2"):
        Piece(np.zeros((3, 88)))


def test_the_sound_has_the_pitch_and_the_length():
    piece = Piece(roll_of((69, [2, 1, 1, 1])), 1, 120.0)
    sound = sound_of(piece)
    assert len(sound) == pytest.approx(2.08 * RATE, abs=2)
    spectrum = np.abs(np.fft.rfft(sound))
    assert np.argmax(spectrum) * RATE / len(sound) == pytest.approx(440, abs=1)
    with wave.open(io.BytesIO(wave_of(piece))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (RATE, 1, len(sound))


# -- the codec ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [False, True])
@settings(max_examples=60, deadline=None)
@given(small=st.lists(rolls, min_size=1, max_size=4))
def test_codes_give_pieces_back(held, small):
    pieces = Pieces(tuple(piece_of(part, held) for part in small))
    if not any(piece.roll.any() for piece in pieces.pieces):
        return
    codec = MusicCodec.learn(pieces)
    codec = MusicCodec.from_json(*codec.to_json())
    back = codec.decode(codec.encode(pieces, strict=True)).pieces
    assert all(np.array_equal(a.roll, b.roll) for a, b in zip(pieces.pieces, back, strict=True))


def test_codes_go_from_high_to_low():
    codec = MusicCodec.learn(Pieces((Piece(HELD_ROLL, 4),)))
    top, p = 78, 78 - 55 + 1
    assert codec.pitches == (55, 78)
    code = {pitch: 2 + top - pitch for pitch in (60, 64, 72)}
    first = [code[72], code[60], 1, code[64], code[60] + p, 1]
    assert codec.encode(Pieces((Piece(HELD_ROLL, 4),)))["music"][0, :6].tolist() == first
    assert codec.spec.blocks[0].sites == (9 + 5 + 1,)


def test_pitches_that_were_never_seen():
    codec = MusicCodec.learn(Pieces((Piece.of_chords([[60, 64]]),)))
    far = Pieces((Piece.of_chords([[20, 100]]),))
    with pytest.raises(CodecError, match="expected pitches from 55 to 70, got 20 to 100"):
        codec.encode(far, strict=True)
    assert codec.decode(codec.encode(far)).pieces[0].chords() == [[56, 64]]
    with pytest.raises(CodecError, match="expected 1 steps of a quarter note, as learned, got 4"):
        codec.encode(Pieces((Piece(HELD_ROLL, 4),)))
    with pytest.raises(SpecError, match="two symbols or more"):
        MusicCodec.learn(far, length=1)
    assert MusicCodec.learn(far, length=2).encode(far)["music"].shape == (1, 2)


# -- the law -----------------------------------------------------------------------------------------------------------


def tiny(held: bool, length: int, **words) -> torch.nn.Module:
    levels = ("", "|", *map(str, range(2 * (1 + held))))
    x = np.array([[2, 1, 3, 1, 0, 0]], np.int32)[:, :length]
    spec = Spec((Block("music", (Note.learn("music", x, levels, held=held),), (length,)),))
    model = create("autoregressive", spec, 0, width=16, heads=2, depth=1, **words).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.3 * torch.randn_like(p)
    return model


def every(symbols: int, length: int) -> np.ndarray:
    """All sequences, legal or not, that are END behind their first one."""
    rows = itertools.product(range(symbols), repeat=length)
    return np.array([r for r in rows if all(b == 0 for a, b in itertools.pairwise(r) if a == 0)], np.int32)


@pytest.mark.parametrize("held", [False, True])
def test_the_mass_of_all_music_is_one_and_draws_follow_it(held):
    model = tiny(held, 4, context=2)  # two steps of context: windows are part of the law
    rows = every(model.symbols, 4)
    mass = np.exp(model.log_prob({"music": rows}))
    assert mass.sum() == pytest.approx(1, abs=1e-5)
    u = model.noise(4000, torch.Generator().manual_seed(1))
    drawn = model.continued(torch.zeros(4000, 0, dtype=torch.long), u).numpy()
    own = dict(zip(map(tuple, rows.tolist()), mass, strict=True))
    found, count = np.unique(drawn, axis=0, return_counts=True)
    for row, n in zip(found.tolist(), count, strict=True):
        assert own[tuple(row)] > 0
        assert n / 4000 == pytest.approx(own[tuple(row)], abs=0.03)


def test_what_is_legal():
    model = tiny(True, 4)  # 2, 3: pitches struck; 4, 5: the same held on
    bad = [[3, 2, 1, 0], [2, 2, 1, 0], [4, 1, 0, 0], [2, 1, 5, 1], [2, 0, 0, 0], [2, 1, 2, 4]]
    good = [[2, 3, 1, 0], [2, 1, 4, 1], [2, 1, 4, 3], [1, 1, 1, 0], [0, 0, 0, 0], [3, 1, 2, 5]]
    assert np.isneginf(model.log_prob({"music": np.array(bad, np.int32)})).all()
    assert np.isfinite(model.log_prob({"music": np.array(good, np.int32)})).all()


def test_transposition_keeps_what_is_legal_and_stays_in_range():
    codec = MusicCodec.learn(Pieces((Piece(HELD_ROLL, 4),)))
    model = create("autoregressive", codec.spec, 0, width=16, heads=2, depth=1)
    x = torch.from_numpy(codec.encode(Pieces((Piece(HELD_ROLL, 4),) * 64))["music"]).long()
    moved = model._transposed(x, torch.Generator().manual_seed(0)).numpy()
    by = {int(np.flatnonzero(p.roll.any(0))[0]) - 60 for p in codec.decode({"music": moved}).pieces}
    assert by == set(range(-5, 7))
    shifted = {p.roll.tobytes() for p in codec.decode({"music": moved}).pieces}
    assert shifted == {Piece(HELD_ROLL, 4).transposed(b).roll.tobytes() for b in by}


def test_what_the_model_refuses():
    codec = MusicCodec.learn(Pieces((Piece(HELD_ROLL, 4),)))
    with pytest.raises(SpecError, match="an even number of steps, got 3"):
        create("autoregressive", codec.spec, 0, context=3)
    with pytest.raises(SpecError, match="even parts"):
        create("autoregressive", codec.spec, 0, width=10)


# -- figures -----------------------------------------------------------------------------------------------------------


def test_figures_of_chords():
    rolls = [Piece.of_chords(chord).roll > 0 for chord in CHORALES["train"]]
    up = [np.roll(roll, 12, 1) for roll in rolls]
    assert key_distance(rolls, up) == 0
    assert key_distance([Piece.of_chords([[60]]).roll > 0], [Piece.of_chords([[61]]).roll > 0]) == 1
    assert share_known(rolls, rolls) == 1 and share_known([np.roll(r, 1, 1) for r in rolls], rolls) == 1
    assert share_repeated([Piece.of_chords([[60], [60, 64], [64]]).roll > 0]) == pytest.approx(2 / 3)
    law = Independent(rolls)
    silent = np.zeros((1, 128), bool)
    assert law.log_prob(silent) == pytest.approx(np.log1p(-law.p).sum())


# -- the verbs ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    path = tmp_path_factory.mktemp("music") / "chorales.json"
    path.write_text(json.dumps(CHORALES))
    return pofx.fit(path, steps=250, quiet=True, width=32, heads=2, depth=1, dropout=0.05, transpose=1)


def test_what_was_learned_is_likely_and_sounds_alike(fitted):
    assert fitted.model.name == "autoregressive" and "1 steps a quarter note" in fitted.info()
    assert fitted.provenance["train_rows"] == 24
    told = fitted.log_prob([Piece.of_chords(chorale(50)), Piece.of_chords([[50], [61], [48], [63]] * 3)], detail=True)
    assert told["nats_a_step"][0] < 4 < told["nats_a_step"][1]
    assert np.allclose(told["nats_a_step"] * told["steps"], -told["log_prob"])
    drawn = fitted.sample(8, seed=1, quiet=True, temperature=0.7)
    assert all(isinstance(piece, Piece) for piece in drawn)
    assert np.mean([len(chord) == 4 for piece in drawn for chord in piece.chords()]) > 0.8


def test_a_saved_model_says_the_same_and_small_samples_begin_large_ones(fitted, tmp_path):
    fitted.save(tmp_path / "m.pofx")
    again = pofx.load(tmp_path / "m.pofx")
    own, other = fitted.sample(20, seed=2, quiet=True), again.sample(3, seed=2, quiet=True)
    assert [p.chords() for p in own[:3]] == [p.chords() for p in other]


def test_it_goes_on(fitted):
    begun = Piece.of_chords(CHORALES["test"][0][:6], tempo=80.0)
    (made,) = fitted.continue_(begun, seed=0, quiet=True, symbols=40)
    assert np.array_equal(made.roll[:6], begun.roll) and len(made) > 6 and made.tempo == 80.0


def test_the_evidence(fitted, tmp_path):
    evidence = fitted.evaluate(rows=12, quiet=True, report=tmp_path / "r.html", json=tmp_path / "m.json")
    nats = evidence.nats
    assert nats["the model"][0] < nats["independent pitches"][0]
    assert nats["the model"][0] == pytest.approx(
        -fitted.log_prob([Piece.of_chords(c) for c in CHORALES["test"]]).sum() / sum(map(len, CHORALES["test"])),
        rel=1e-4,
    )
    assert evidence.sound["unseen (floor)"]["pitch classes"] == 0
    assert 0 < evidence.sound["training"]["pitch classes"] < 1
    assert "nats a step" in evidence.summary() and "<table>" in (tmp_path / "r.html").read_text()
    assert json.loads((tmp_path / "m.json").read_text())["rows"]["drawn"] == 12


def test_what_music_cannot_do_is_said(fitted, chorales):
    with pytest.raises(Unsupported, match="learned without labels"):
        fitted.sample(2, given="a = 1")
    with pytest.raises(Unsupported, match="holes in music are filled by any_order"):
        fitted.complete(chorales)
    with pytest.raises(Unsupported, match="no target"):
        fitted.evaluate(target="x")
    with pytest.raises(SpecError, match="at least one symbol"):
        fitted.continue_(Piece.of_chords([[60]]), symbols=0)
    with pytest.raises(CodecError, match="expected pitches from"):
        fitted.log_prob([Piece.of_chords([[5]])])
    with pytest.raises(SpecError, match="reading of music with"):
        pofx.fit(chorales, steps=1, reading={"delimiter": ","})
    with pytest.raises(Unsupported, match="no fields, labels or condition"):
        pofx.fit(chorales, steps=1, fields={"a": "real"})


def test_the_command_line(tmp_path, capsys):
    folder = tmp_path / "chorales"
    folder.mkdir()
    for i in range(10):
        roll = np.repeat(Piece.of_chords(chorale(i)).roll, 2, 0)
        roll[1::2] = np.where(roll[1::2] > 0, HELD, 0)
        (folder / f"{i}.mid").write_bytes(midi_of(Piece(roll, 2, 96.0)))
    bundle, small = str(tmp_path / "bach.pofx"), ["--set", "width=16", "--set", "heads=2", "--set", "depth=1"]
    assert main(["fit", str(folder), "-o", bundle, "--steps", "10", "--grid", "2", "--quiet", *small]) == 0
    assert main(["sample", bundle, "-n", "2", "-o", str(tmp_path / "out"), "--seed", "0", "--quiet"]) == 0
    assert len(list((tmp_path / "out").glob("*.wav"))) == len(list((tmp_path / "out").glob("*.mid"))) == 2
    longer = str(tmp_path / "longer.mid")
    go_on = ["continue", bundle, str(folder / "0.mid"), "-o", longer, "--symbols", "30", "--seed", "0", "--quiet"]
    assert main(go_on) == 0
    first, more = (read_pieces(p, grid=2)[0].pieces[0].roll for p in (folder / "0.mid", longer))
    assert np.array_equal(more[: len(first)], first)
    assert main(["score", bundle, str(folder), "-o", str(tmp_path / "s.csv")]) == 0
    assert (tmp_path / "s.csv").read_text().startswith("piece,log_prob,steps,nats_a_step")
    assert main(["continue", bundle, "--text", "a"]) == 2
    assert "expected a file of music and an output" in capsys.readouterr().err
