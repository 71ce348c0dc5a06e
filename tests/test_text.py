"""Text: what is read as what, and codes that give it back without loss."""

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pofx.codecs.text import TextCodec
from pofx.codecs.text_io import Texts, holds_text, read_texts, write_texts
from pofx.errors import CodecError, SpecError, Unsupported

NAMES = ("emma", "olivia", "ava", "isabella", "sophia")
PLAY = "".join(f"Citizen {i}:\nSpeak, speak.\n\nAll:\nNo more talking on't; {i * i}.\n\n" for i in range(40))
TOKENS = ("characters", "bytes", "bpe")


def made(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


# -- in and out --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["a.txt", Path("b.TEXT"), "c.md.gz", ["one", "two"], ("one",)])
def test_what_is_text(source) -> None:
    assert holds_text(source)


@pytest.mark.parametrize("source", ["a.csv", "a.gz", [], ["one", 2], np.zeros(3), None])
def test_what_is_no_text(source) -> None:
    assert not holds_text(source)


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("\n".join(NAMES * 20), False),
        ("\n\n".join(NAMES * 20), False),  # a blank line after each
        ("\n".join([*NAMES * 20, "", *NAMES * 20]), False),  # one slip
        (PLAY, True),
        ("word " * 1000, True),
        ("one\ntwo\n\n", False),
    ],
)
def test_lines_or_a_document(tmp_path: Path, text: str, document: bool) -> None:
    path = made(tmp_path / "a.txt", text)
    texts, kind = read_texts(path)
    assert (texts.document, kind) == (document, "file")
    assert "document" in texts.notes
    assert read_texts(path, document="yes")[0].lines == (text,)
    if text.count("\n"):
        assert read_texts(path, document="no")[0].lines == tuple(line for line in text.split("\n") if line)


def test_marks_line_ends_and_blank_lines(tmp_path: Path) -> None:
    texts, _ = read_texts(made(tmp_path / "a.txt", b"\xef\xbb\xbfemma\r\n\r\n ava \r\n"))
    assert texts.lines == ("emma", " ava ")
    assert texts.notes["blank lines"] == "1 dropped"
    assert "line ends" in texts.notes
    assert "encoding" not in texts.notes
    assert read_texts(["emma", "", "ava"])[0].lines == ("emma", "ava")
    assert read_texts(["emma", "ava"], document="yes")[0] == Texts(("emma\nava",), True)


def test_encodings(tmp_path: Path) -> None:
    for encoding in ("cp1252", "utf-16"):
        path = made(tmp_path / "a.txt", "Zoë\nChloë was here\n".encode(encoding))
        texts, _ = read_texts(path)
        assert texts.lines == ("Zoë", "Chloë was here")
        assert texts.encoding == encoding
        assert encoding in texts.notes["encoding"]
        assert read_texts(path, encoding=encoding)[0] == texts
    assert read_texts(made(tmp_path / "b.txt.gz", gzip.compress(b"one\ntwo")))[0].lines == ("one", "two")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b"one\n", "one line"),
        (b"one\0two\n" * 9, "binary"),
        (bytes(range(1, 32)) * 9, "binary"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, data: bytes, words: str) -> None:
    path = made(tmp_path / "a.txt", data)
    with pytest.raises(CodecError, match=words):
        read_texts(path)
    if words == "binary" and b"\0" in data:
        with pytest.raises(CodecError, match=words):
            read_texts(path, encoding="utf-8")


def test_sources_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CodecError, match="nothing: check the path"):
        read_texts(tmp_path / "none.txt")
    with pytest.raises(CodecError, match="a folder"):
        read_texts(tmp_path)
    with pytest.raises(CodecError, match="could not read"):
        read_texts(made(tmp_path / "a.txt.gz", b"\x1f\x8bno"))
    with pytest.raises(CodecError, match="not text in utf-8"):
        read_texts(made(tmp_path / "b.txt", b"Zo\xeb\ntwo"), encoding="utf-8")
    with pytest.raises(CodecError, match="got int at 1"):
        read_texts(["one", 2])
    with pytest.raises(CodecError, match="surrogate pair at 1"):
        read_texts(["one", "\ud800"])
    with pytest.raises(SpecError, match="'auto', 'yes' or 'no'"):
        read_texts(["one", "two"], document="maybe")


def test_taking_and_fingerprints() -> None:
    lines, document = Texts(NAMES, False), Texts((PLAY,), True)
    assert lines.take(np.array([3, 0])).lines == ("isabella", "emma")
    assert document.take(np.arange(5, 20)).lines == (PLAY[5:20],)
    assert (len(lines), len(document), len(document.take([]))) == (5, len(PLAY), 0)
    with pytest.raises(SpecError, match="a run of characters"):
        document.take([1, 3])
    assert lines.fingerprint() == Texts(NAMES, False, "cp1252").fingerprint() != lines.take([0, 1]).fingerprint()
    assert Texts(("a",), True).fingerprint() != Texts(("a",), False).fingerprint()


def test_writing(tmp_path: Path) -> None:
    for texts in (Texts((*NAMES, "Zoë\u2028x"), False), Texts((PLAY,), True)):
        assert write_texts(texts, tmp_path / "a.txt") == len(texts)
        assert read_texts(tmp_path / "a.txt")[0] == texts
    broken = Texts(("one\ntwo", "three\r"), False)
    assert write_texts(broken, tmp_path / "b.txt") == 2
    assert (tmp_path / "b.txt").read_bytes() == b"one\\ntwo\nthree\\r\n"
    assert broken.notes["line breaks"].startswith("2 lines")
    with pytest.raises(CodecError):
        write_texts(broken, tmp_path / "none" / "b.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt"]


# -- the codec ---------------------------------------------------------------------------------------------------------


def again(codec: TextCodec) -> TextCodec:
    return TextCodec.from_json(*codec.to_json())


@pytest.mark.parametrize("tokens", TOKENS)
@settings(max_examples=25, deadline=None)
@given(lines=st.lists(st.text(max_size=12), min_size=1, max_size=6).filter(any))
def test_lines_come_back(tokens: str, lines: list[str]) -> None:
    texts = Texts(tuple(lines), False)
    codec = TextCodec.learn(texts, tokens=tokens, vocabulary=260 if tokens == "bpe" else None)
    x = codec.encode(texts, strict=True)
    assert x["text"].dtype == np.int32
    assert x["text"].shape == (len(lines), codec.sites)
    assert codec.decode(x) == again(codec).decode(again(codec).encode(texts)) == texts
    assert [codec.text(codec.ids(line)) for line in lines] == lines


@pytest.mark.parametrize("tokens", TOKENS)
@settings(max_examples=25, deadline=None)
@given(text=st.text(min_size=1, max_size=40), length=st.integers(1, 2))
def test_documents_come_back(tokens: str, text: str, length: int) -> None:
    texts = Texts((text * 3 + " a\nb ",), True)
    codec = TextCodec.learn(texts, tokens=tokens, length=length, vocabulary=260 if tokens == "bpe" else None)
    n = len(codec.ids(texts.lines[0]))
    assert codec.decode(codec.encode(texts, strict=True), tokens=n) == texts


@pytest.mark.parametrize("tokens", TOKENS)
def test_a_play_comes_back(tokens: str) -> None:
    texts = Texts((PLAY + "Exeunt.",), True)
    codec = TextCodec.learn(texts, tokens=tokens, length=32)
    x = codec.encode(texts)
    assert codec.decode(x) == texts
    assert (codec.sites, codec.ends) == (64, False)
    assert np.array_equal(x["text"][1:-1, :32], x["text"][:-2, 32:])
    drawn = codec.decode({"text": x["text"][[3, 0]]})
    assert (len(drawn), drawn.document) == (2, False)
    if tokens != "bpe":
        assert np.array_equal(codec.encode(drawn)["text"], x["text"][[3, 0]])


def test_characters_by_falling_frequency() -> None:
    codec = TextCodec.learn(Texts(("baa", "ab", "aa\ufffd"), False))
    assert codec.symbols == ("", "a", "b", "\ufffd")
    assert codec.encode(Texts(("ab",), False))["text"].tolist() == [[1, 2, 0]]
    assert codec.text(np.array([1, 0, 2])) == "a"
    assert codec.text(codec.ids("aéb")) == "a\ufffdb"
    with pytest.raises(CodecError, match="'é'"):
        codec.encode(Texts(("aé",), False), strict=True)
    with pytest.raises(CodecError, match="surrogate"):
        codec.ids("\ud800")


def test_long_lines_are_cut() -> None:
    codec = TextCodec.learn(Texts(NAMES, False), length=4)
    assert (codec.cut, again(codec).cut, codec.sites) == (3, 3, 4)
    assert codec.decode(codec.encode(Texts(NAMES, False))).lines[1] == "oliv"
    with pytest.raises(CodecError, match="at most 4 tokens, got 8"):
        codec.encode(Texts(NAMES, False), strict=True)


def test_pieces_are_fewer_than_bytes() -> None:
    texts = Texts((PLAY,), True)
    codec = TextCodec.learn(texts, tokens="bpe", vocabulary=290, length=8)
    assert len(codec.symbols) == 290
    assert len(codec.ids(PLAY)) < len(PLAY) / 2
    assert codec.bpe == TextCodec.learn(texts, tokens="bpe", vocabulary=290, length=8).bpe


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(Unsupported, match=r'pip install "pofx\[bpe\]"'):
        TextCodec.learn(Texts(NAMES, False), tokens="bpe")


def test_what_cannot_be_learned() -> None:
    lines, document = Texts(NAMES, False), Texts((PLAY[:100],), True)
    for more in ({"tokens": "words"}, {"vocabulary": 300}, {"tokens": "bpe", "vocabulary": 256}, {"length": 0}):
        with pytest.raises(SpecError):
            TextCodec.learn(lines, **more)
    with pytest.raises(CodecError, match="256 tokens or more, got 100: give more text"):
        TextCodec.learn(document)
    with pytest.raises(CodecError, match="expected some text"):
        TextCodec.learn(Texts(("", ""), False))
    with pytest.raises(CodecError, match="expected lines"):
        TextCodec.learn(lines).encode(document)
