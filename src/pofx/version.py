"""The version of pofx."""

__version__ = "0.1.0"
