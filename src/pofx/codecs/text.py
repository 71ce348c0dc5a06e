"""The codec of text: lines, or stretches of a document, to the codes of their tokens, and back without loss.

A token is a character, a byte of UTF-8, or a piece that byte-pair encoding found (docs/text.md).
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from ..errors import CodecError, SpecError, Unsupported
from ..fields import Token
from ..spec import Block, Columns, Spec
from .image import LABEL, Labelling, label_field
from .text_io import Texts, check_strings

TEXT = "text"
TOKENS = ("characters", "bytes", "bpe")
UNKNOWN = "\ufffd"  # the last level of characters
HALF = 128  # tokens from one row of a document to the next
VOCABULARY = 1000


class TextCodec(Labelling):
    """How text becomes rows of T codes, and back.

    spec: the field `text` of tokens over T sites, code 0 the END where rows are lines; tokens: what a token is; cut:
    how many training lines were longer than T; bpe: the JSON of the tokenizer where tokens are "bpe"; column: the text
    column of a table; whole: whether labels, the condition, are whole numbers.
    """

    kind = "text"

    def __init__(
        self, spec: Spec, tokens: str = "characters", cut: int = 0, bpe: str | None = None, column: str | None = None,
        whole: bool = False,
    ) -> None:  # fmt: skip
        self.spec, self.tokens, self.cut, self.bpe, self.column, self.whole = spec, tokens, cut, bpe, column, whole
        self.label = spec.condition.fields[0].name if spec.condition else LABEL
        self._tokens = _Tokens(tokens, self.symbols[self.ends :], bpe)

    @classmethod
    def learn(
        cls, texts: Texts, *, tokens: str = "characters", vocabulary: int | None = None, length: int | None = None
    ) -> Self:
        """The codec of lines, T the tokens of the longest one or `length`; or of a document, T = 2 length (256).

        vocabulary: how many pieces byte-pair encoding finds, 256 bytes included, 1000 by default. Raises SpecError for
        values that cannot be, CodecError for a document of fewer than T tokens and where there is nothing to learn.
        """
        if tokens not in TOKENS:
            raise SpecError(f"expected tokens in {', '.join(TOKENS)}, got {tokens!r}")
        if vocabulary is not None and (tokens != "bpe" or vocabulary < 257):
            raise SpecError(f"expected vocabulary of 257 or more with tokens='bpe' alone, got {vocabulary} of {tokens}")
        if length is not None and length < 1:
            raise SpecError(f"expected a length of one token or more, got {length}")
        if not any(texts.lines):
            raise CodecError("expected some text to learn from, got none: give lines that are not empty")
        bpe = _learn_bpe(texts.lines, vocabulary or VOCABULARY) if tokens == "bpe" else None
        levels = _levels(texts.lines, tokens, bpe)
        pieces = _Tokens(tokens, levels, bpe).split(texts.lines)
        if texts.document:
            rows, cut = _rows(pieces[0], 2 * (length or HALF)), 0
        else:
            sites = length or max(map(len, pieces))
            rows, cut = _lines(pieces, sites), sum(len(piece) > sites for piece in pieces)
        ends = not texts.document
        field = Token.learn(TEXT, rows, ("",) * ends + levels, ends=ends)
        block, told, whole = Block(TEXT, (field,), (rows.shape[1],)), texts.labels, False
        label = None if told is None else Spec((Block(texts.label, (label_field(told, texts.label),)),))
        if told is not None:
            whole = all(isinstance(value, int) for value in told if value is not None)
        return cls(Spec((block,), label), tokens, cut, bpe, texts.column, whole)

    @property
    def _field(self) -> Token:
        field = self.spec.field(TEXT)
        if not isinstance(field, Token):
            raise SpecError(f"expected a field of tokens, got {field.kind}")
        return field

    @property
    def symbols(self) -> tuple[str, ...]:
        """The tokens by code: "" the END, bytes as 0x41, pieces in the letters that stand for their bytes."""
        return self._field.levels

    @property
    def ends(self) -> bool:
        """Whether rows are lines, which end; else they are stretches of a document."""
        return self._field.ends

    @property
    def sites(self) -> int:
        """T, the tokens of a row."""
        return self.spec.blocks[0].sites[0] or 0

    def encode(self, texts: Texts, *, strict: bool = False) -> Columns:
        """{"text": int32 (n, T)}: a row for each line, the END after it; or those of a document, T / 2 tokens apart,
        the last of them at its end. Lines that a codec of documents is given are documents each.

        A character never seen gets the unknown level, and a line of more than T tokens is cut, or with `strict` either
        raises CodecError; as do a document in place of lines, and one of fewer than T tokens.
        """
        if strict and self.tokens == "characters":
            if new := sorted(set("".join(texts.lines)) - set(self.symbols)):
                raise CodecError(f"expected characters of training, got {', '.join(map(repr, new[:8]))}: replace these")
        if self.ends and texts.document:
            raise CodecError("expected lines, as were learned, got a document: read it with document='no'")
        pieces = self._tokens.split(texts.lines)
        if not self.ends:
            return {
                TEXT: np.concatenate([np.empty((0, self.sites), np.int32), *(_rows(p, self.sites) for p in pieces)])
            }
        longest = max(map(len, pieces), default=0)
        if strict and longest > self.sites:
            raise CodecError(f"expected lines of at most {self.sites} tokens, got {longest}: shorten them")
        x = {TEXT: _lines(pieces, self.sites)}
        if not self.levels:
            return x
        labels = [None] * len(texts) if texts.labels is None else texts.labels.tolist()
        return x | {self.label: self.codes(labels, strict=strict)}

    def decode(self, x: Columns, tokens: int | None = None) -> Texts:
        """Lines of rows (n, T); or the document of which they are the rows, where each continues the one before.

        tokens: of that document, where its last T repeat themselves, so that rows do not tell where it ends. Rows of a
        document that do not continue one another, as drawn ones, are a line each.
        """
        rows = np.asarray(x[TEXT])
        if not self.ends and len(rows) and (whole := _joined(rows, tokens)) is not None:
            return Texts((self.text(whole),), True)
        labels = self.labels(x[self.label]) if self.label in x else None
        return Texts(tuple(map(self.text, rows)), False, labels=labels, column=self.column, label=self.label)

    def ids(self, text: str) -> np.ndarray:
        """The codes of a text, int32 (tokens,), without an END. Raises CodecError where it is no Unicode."""
        check_strings([text])
        return self._tokens.split([text])[0] + np.int32(self.ends)

    def text(self, ids: np.ndarray) -> str:
        """The text of codes, (tokens,), up to the first END; bytes that are no UTF-8 are U+FFFD."""
        codes = np.asarray(ids, np.int64)
        if self.ends:
            codes = codes[: np.argmax(codes == 0)] - 1 if (codes == 0).any() else codes - 1
        return self._tokens.join(codes)

    def profile(self) -> str:
        """What was learned of tokens and lengths, in lines for a terminal."""
        shown = " ".join(repr(symbol) for symbol in self.symbols[self.ends : self.ends + 20])
        share = self._field.mass
        seen = f"lines of at most {self.sites} tokens" if self.ends else f"a document, {self.sites} tokens at a time"
        entropy = -(share[share > 0] * np.log(share[share > 0])).sum()
        return "\n".join(
            [
                f"{self.tokens}: {len(self.symbols):,} symbols, {seen}",
                f"frequent: {shown}",
                f"entropy of their frequencies: {entropy:.3f} nats a symbol, what a model has to beat",
            ]
        )

    def to_json(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Plain values and arrays that rebuild the codec."""
        header, arrays = self.spec.split()
        meta = {"kind": self.kind, "spec": header, "tokens": self.tokens, "cut": self.cut}
        meta |= {"column": self.column, "whole": self.whole}
        return meta | ({"bpe": self.bpe} if self.bpe else {}), arrays

    @classmethod
    def from_json(cls, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """What `to_json` gave."""
        return cls(
            Spec.join(meta["spec"], arrays),
            meta["tokens"],
            meta["cut"],
            meta.get("bpe"),
            meta.get("column"),
            meta.get("whole", False),
        )


class _Tokens:
    """Strings to codes from 0, without an END, and back."""

    def __init__(self, tokens: str, levels: tuple[str, ...], bpe: str | None) -> None:
        self.tokens, self.levels = tokens, levels
        self.bpe = _package().Tokenizer.from_str(bpe) if bpe else None
        if tokens == "characters":
            self.code = np.full(0x110000, len(levels) - 1, np.int32)
            self.code[[ord(level) for level in levels]] = np.arange(len(levels))

    def split(self, lines: Sequence[str]) -> list[np.ndarray]:
        """The codes of each line, int32."""
        if self.bpe is not None:
            return [np.array(piece.ids, np.int32) for piece in self.bpe.encode_batch(list(lines))]
        if self.tokens == "bytes":
            return [np.frombuffer(line.encode(), np.uint8).astype(np.int32) for line in lines]
        return [self.code[np.frombuffer(line.encode("utf-32-le"), np.uint32)] for line in lines]

    def join(self, codes: np.ndarray) -> str:
        """The text of codes, (tokens,)."""
        if self.bpe is not None:
            return self.bpe.decode(codes.tolist(), skip_special_tokens=False)
        if self.tokens == "bytes":
            return codes.astype(np.uint8).tobytes().decode("utf-8", "replace")
        return "".join(self.levels[code] for code in codes.tolist())


def _levels(lines: Sequence[str], tokens: str, bpe: str | None) -> tuple[str, ...]:
    """The levels by code: characters by falling frequency, then the unknown one; bytes; or pieces."""
    if tokens == "bytes":
        return tuple(f"{byte:#04x}" for byte in range(256))
    if bpe:
        held = _package().Tokenizer.from_str(bpe).get_vocab()
        return tuple(sorted(held, key=held.__getitem__))
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(line)
    counts.pop(UNKNOWN, None)
    return (*sorted(counts, key=lambda c: (-counts[c], c)), UNKNOWN)


def _learn_bpe(lines: Sequence[str], vocabulary: int) -> str:
    """The JSON of a tokenizer of bytes, trained on lines; it changes no text."""
    package = _package()
    bytewise = package.pre_tokenizers.ByteLevel
    tokenizer = package.Tokenizer(package.models.BPE())
    tokenizer.pre_tokenizer = bytewise(add_prefix_space=False)
    tokenizer.decoder = package.decoders.ByteLevel()
    trainer = package.trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=bytewise.alphabet(), show_progress=False, special_tokens=[]
    )
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer.to_str()


def _package() -> Any:
    """The package tokenizers; Unsupported where it is not installed."""
    try:
        import tokenizers
    except ImportError:
        raise Unsupported(
            'expected the package tokenizers for tokens of "bpe", got none: pip install "pofx[bpe]"'
        ) from None
    return tokenizers


def _lines(pieces: list[np.ndarray], sites: int) -> np.ndarray:
    """Codes of lines to rows, (n, T): one more each, cut at T, END (0) after them."""
    rows = np.zeros((len(pieces), sites), np.int32)
    for row, piece in zip(rows, pieces, strict=True):
        row[: len(piece)] = piece[:sites] + 1
    return rows


def _rows(piece: np.ndarray, sites: int) -> np.ndarray:
    """The codes of a document to rows, (n, T), at 0, T/2, 2 T/2, ... and at its end less T."""
    last = len(piece) - sites
    if last < 0:
        raise CodecError(
            f"expected a document of {sites} tokens or more, got {len(piece)}: give more text, or learn with a "
            "length of half of that or less"
        )
    starts = np.append(np.arange(0, last, sites // 2), last)
    return np.lib.stride_tricks.sliding_window_view(piece, sites)[starts]


def _joined(rows: np.ndarray, tokens: int | None) -> np.ndarray | None:
    """The document, (tokens,), of its rows (n, T); None where they are not those of one."""
    sites, half = rows.shape[1], rows.shape[1] // 2
    if len(rows) == 1:
        return rows[0]
    before, last = rows[:-1], rows[-1]
    if (before[1:, :half] != before[:-1, half:]).any():
        return None
    steps = range(half, 0, -1) if tokens is None else [tokens - sites - (len(rows) - 2) * half]
    for step in steps:  # from the last row but one to the last
        if 0 < step <= half and np.array_equal(before[-1, step:], last[:-step]):
            return np.concatenate([before[0], before[1:, half:].ravel(), last[-step:]])
    return None
