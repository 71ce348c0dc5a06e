"""Codes of music: a law given a code, segments of pieces, and the verbs of codes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from test_music import CHORALES, every

import pofx
from pofx.cli import main
from pofx.codecs.music import MusicCodec
from pofx.codecs.music_io import read_pieces
from pofx.codecs.pieces import Piece, Pieces
from pofx.errors import CodecError, SpecError, Unsupported
from pofx.fitted_music import FittedMusic
from pofx.models import create
from pofx.models.musical_vae import MusicalVAE


def tiny(length: int, context: int = 4) -> MusicalVAE:
    piece = Piece.of_chords([[60], [61]])
    codec = MusicCodec.learn(Pieces((piece,)), length=length)
    codec = MusicCodec.from_json(*codec.to_json())
    model = create("vae", codec.spec, 0, width=16, heads=2, depth=1, latent=3, context=context)
    assert isinstance(model, MusicalVAE)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    return model.eval()


def test_given_a_code_the_mass_of_all_music_is_one_and_draws_follow_it() -> None:
    model = tiny(3)
    rows = torch.from_numpy(every(model.symbols, 3)).long()
    z = torch.randn(1, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mass = model._terms_of(rows, z.expand(len(rows), -1), None).sum(1).double().exp()
    assert float(mass.sum()) == pytest.approx(1, abs=1e-5)
    u = torch.rand(1000, 3, generator=torch.Generator().manual_seed(1))
    drawn = model.utter(z.expand(1000, -1), u)["music"]
    own = dict(zip(map(tuple, rows.tolist()), mass.tolist(), strict=True))
    found, count = np.unique(drawn, axis=0, return_counts=True)
    for row, n in zip(found.tolist(), count, strict=True):
        assert n / 1000 == pytest.approx(own[tuple(row)], abs=0.05)


def test_the_bound_rises_with_draws_to_log_p() -> None:
    model = tiny(2)
    with torch.no_grad():  # q is the prior, which no law of a code is far from
        model.encoder.last[1].weight.zero_(), model.encoder.last[1].bias.zero_()
    rows = {"music": every(model.symbols, 2)}
    one, many = (model.bound(rows, draws=k).value for k in (1, 300))
    assert np.exp(many).sum() == pytest.approx(1, abs=0.1)
    legal = np.isfinite(many)
    assert one[legal].mean() < many[legal].mean()


def test_pieces_in_segments() -> None:
    long, short = Piece.of_chords([[60]] * 19), Piece.of_chords([[60], [62]])
    silent = Piece.of_chords([[60]] * 8 + [[]] * 8)
    cut = Pieces((long, short, silent), np.array([0, 1, 2])).cut(8)
    assert [len(p) for p in cut.pieces] == [8, 8, 2, 8]  # 3 steps are fewer than half a segment
    assert cut.owner is not None and cut.owner.tolist() == [0, 0, 1, 2]
    assert cut.part is not None and cut.part.tolist() == [0, 0, 1, 2]
    with pytest.raises(CodecError, match="expected segments of 8 steps that have notes"):
        Pieces((Piece.of_chords([[]] * 8 + [[60]]),)).cut(8)
    assert cut.take([2]).owner.tolist() == [1]  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> FittedMusic:
    path = tmp_path_factory.mktemp("music") / "chorales.json"
    path.write_text(json.dumps(CHORALES))
    words = {"width": 32, "heads": 2, "depth": 1, "latent": 8, "transpose": 0, "dropout": 0.0}
    made = pofx.fit(path, model="vae", steps=400, quiet=True, reading={"segment": 8}, **words)
    assert isinstance(made, FittedMusic)
    return made


def test_segments_of_a_piece_are_in_one_part(fitted: FittedMusic) -> None:
    learned, watched, unseen = fitted.learned_from()
    assert all(len(piece) <= 8 for part in (learned, watched, unseen) for piece in part.pieces)
    assert len(learned) > 24 and len(unseen) > 6
    bare = list(read_pieces(fitted.provenance["path"])[0].pieces)
    made = pofx.fit(bare, model="vae", steps=2, quiet=True, reading={"segment": 8}, width=16, heads=2, depth=1)
    parts = made.learned_from(bare)
    owners = [set(part.owner.tolist()) for part in parts]
    assert not owners[0] & owners[1] and not owners[0] & owners[2] and not owners[1] & owners[2]


def test_codes_say_what_was_coded(fitted: FittedMusic) -> None:
    unseen = list(fitted.learned_from()[2].pieces)

    def alike(made: list[Piece]) -> float:
        """The share of what sounds that both have."""
        ends = [min(len(a), len(b)) for a, b in zip(made, unseen, strict=True)]
        both = [(a.roll[:n] > 0, b.roll[:n] > 0) for a, b, n in zip(made, unseen, ends, strict=True)]
        return float(np.mean([(a & b).sum() / max((a | b).sum(), 1) for a, b in both]))

    again = fitted.reconstruct(unseen, allow_failed=True)
    assert alike(again) > alike(again[1:] + again[:1]) + 0.2
    codes = fitted.encode(unseen)
    assert codes.shape == (len(unseen), 8)
    decoded = fitted.decode(codes, allow_failed=True)
    assert [p.chords() for p in decoded] == [p.chords() for p in again]
    way = fitted.interpolate(unseen[:1], unseen[1:2], steps=3, allow_failed=True)
    assert way[0].chords() == again[0].chords() and way[2].chords() == again[1].chords()


def test_what_codes_of_music_cannot(fitted: FittedMusic) -> None:
    with pytest.raises(Unsupported, match="does not go on from a prompt"):
        fitted.continue_(Piece.of_chords([[60]]))
    with pytest.raises(SpecError, match="a segment of two steps or more"):
        pofx.fit(fitted.provenance["path"], model="vae", steps=1, reading={"segment": 1})


def test_the_command_line_goes_from_one_tune_to_another(fitted: FittedMusic, tmp_path: Path) -> None:
    bundle, out = str(tmp_path / "m.pofx"), tmp_path / "way.json"
    fitted.save(bundle)
    ends = []
    for k, chords in enumerate(CHORALES["test"][:2]):
        ends.append(str(tmp_path / f"{k}.json"))
        with open(ends[-1], "w") as file:
            json.dump([chords[:8]], file)
    assert main(["interpolate", bundle, *ends, "--steps", "4", "-o", str(out), "--allow-failed", "--quiet"]) == 0
    assert len(json.loads(out.read_text())) == 4
