"""The report: one HTML file that opens anywhere, with the verdict first."""

from .page import render, write_report

__all__ = ["render", "write_report"]
