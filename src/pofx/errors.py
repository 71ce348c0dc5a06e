"""The errors pofx raises: each message says what was expected, what came, and what to do."""


class PofxError(Exception):
    """Base of every error that pofx raises on purpose."""


class SpecError(PofxError):
    """The data and the description of the data do not fit together."""


class CodecError(PofxError):
    """A file or frame cannot be read or written as asked."""


class Unsupported(PofxError):
    """A model was asked for something that it cannot do; the message names models that can."""


class BadFile(PofxError):
    """A pofx file is truncated, damaged, foreign, or from a newer version."""


class Failed(PofxError):
    """Samples were asked of a model whose fit failed."""
