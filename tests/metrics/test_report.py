"""The page: one file, no network, nothing of the data unescaped."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from pofx.errors import CodecError
from pofx.evaluate import evaluate
from pofx.field import MISSING
from pofx.fields import Category, Datetime, Real
from pofx.report import render, write_report
from pofx.spec import Spec

from .made import rows, spec_of

NASTY = "<script>alert('$x$ & y')</script>\n😀"
FACTS = {"model": "any_order", "source": NASTY, "seed": 0, "nothing": None}


def nasty_tables():
    a, b, c = ({("label" if k == "label" else NASTY if k == "x" else k): v for k, v in rows(400, s).items()}
               for s in (1, 2, 3))  # fmt: skip
    rest = [f for f in spec_of(rows(400, 1)).fields if f.name not in ("x", "kind")]
    levels = (NASTY, "$\\frac{", "]]>", "rare")
    fields = (Real.learn(NASTY, a[NASTY], 3), Category.learn("kind", a["kind"], levels), *rest)
    return Spec.table(fields), c, a, b


@pytest.fixture(scope="module")
def page():
    spec, fake, train, unseen = nasty_tables()
    log_probs = {"any_order": np.full(400, -3.0), "independent": np.full(400, -4.0)}
    evidence = evaluate(spec, fake, train, unseen, target="label", log_probs=log_probs, quick=True)
    return render(evidence, title=NASTY, provenance=FACTS)


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links, self.words = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href") and v and not v.startswith("#")]

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_asks_the_network_for_nothing_and_runs_nothing(page):
    reader = Reader()
    reader.feed(page)
    assert all(link.startswith("data:image/png;base64,") for link in reader.links)
    assert "script" not in reader.tags
    assert not re.search(r"url\((?!#)|@import", page)


def test_names_from_the_data_are_escaped_and_shown(page):
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_the_verdict_comes_before_the_pictures_and_these_before_the_tables(page):
    at = [page.index(mark) for mark in ('class="verdict', "<svg", "<h2>All figures</h2>")]
    assert at == sorted(at)


def test_the_page_fits_a_phone_and_a_dark_room(page):
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page
    assert "currentColor" in page


def test_every_picture_is_whole_and_keeps_text_as_text(page):
    found = re.findall(r"<svg.*?</svg>", page, flags=re.S)
    assert len(found) >= 6 + 3
    for svg in found:
        ElementTree.fromstring(svg)
    assert "<text" in "".join(found)


def test_ids_of_different_pictures_do_not_meet(page):
    clips = [set(re.findall(r'<clipPath id="([^"]+)"', svg)) for svg in re.findall(r"<svg.*?</svg>", page, flags=re.S)]
    for i, one in enumerate(clips):
        for other in clips[i + 1 :]:
            assert not one & other


def test_moments_are_shown_as_dates():
    rng = np.random.default_rng(0)
    day, when = (rng.integers(19_000, 20_000, 300) for _ in range(2))
    when[0] = MISSING
    spec = Spec.table((Datetime.learn("day", day, unit="D"), Datetime.learn("when", when, unit="D")))
    evidence = evaluate(spec, {"day": day + 900, "when": when}, {"day": day, "when": when})
    page = render(evidence, title="t", provenance={})
    assert "day ≥ 2024" in page
    assert ">2022-" in page
    assert "missing" in page


def test_the_page_is_written_whole_or_not_at_all(tmp_path):
    x = {"l": np.zeros(30, np.int32)}
    spec = Spec.table((Category.learn("l", x["l"], ("u",)),))
    evidence = evaluate(spec, x, x)
    write_report(evidence, tmp_path / "report.html", title="t", provenance={}, labels={"l": "colour"})
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert "colour" in (tmp_path / "report.html").read_text(encoding="utf-8")
    with pytest.raises(CodecError, match="existing folder"):
        write_report(evidence, tmp_path / "none" / "report.html", title="t", provenance={})
