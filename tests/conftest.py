"""Fits of the tests end without a verdict, for time; tests/test_guard.py asks for one."""

import pytest

from pofx.bundle import Fitted
from pofx.learn import fit


@pytest.fixture(autouse=True)
def unguarded(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("guarded") is None:
        for verb in (fit, Fitted.with_prior):
            monkeypatch.setitem(verb.__kwdefaults__, "guard", False)
