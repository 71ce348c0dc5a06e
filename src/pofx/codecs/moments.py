"""Dates and times as texts, and back: int64 steps of a unit since 1970, for any year from 1 to 9999."""

import re
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np

from ..errors import CodecError
from .glue import glue

if TYPE_CHECKING:
    import pyarrow as pa

UNITS = ("ns", "us", "ms", "s", "m", "h", "D")
FACTORS = (1000, 1000, 1000, 60, 60, 24)
_ANY = re.compile(
    r"(?:(\d{4})([-/.]?)\d{1,2}\2\d{1,2}|\d{1,2}([-/.])\d{1,2}\3\d{4})?"
    r"([T ]?)(?:\d{1,2}:\d{2}(:\d{2}(?:\.(\d{1,9}))?)?)?(Z|[+-]\d{2}:?\d{2})?"
)
_PARTS = {"Y": r"(?P<Y>\d{4})", "M": r"(?P<M>\d{1,2})", "D": r"(?P<D>\d{1,2})"}
_WORDS = {"%Y": "Y", "%m": "M", "%d": "D"}


@dataclass(frozen=True)
class Form:
    """The format of a column of moments.

    order: "YMD", "DMY", "MDY" or "" (a time alone); gap: between the parts of the date; pad: two digits always;
    join: between date and time; time: "", "hm" or "hms"; digits: of the fraction of a second, `loose` if left out
    where zero; zone: "", or what follows every time: "Z", "+01:00"; `zones`: offsets differ, and `zone` is written.
    """

    order: str
    gap: str = "-"
    pad: bool = True
    join: str = " "
    time: str = ""
    digits: int = 0
    loose: bool = False
    zone: str = ""
    zones: bool = False

    def meta(self) -> dict[str, Any]:
        """Plain values that rebuild the form."""
        return asdict(self)

    def words(self) -> str:
        """The form in the letters of strftime."""
        time = {"": "", "hm": "%H:%M", "hms": "%H:%M:%S"}[self.time] + (".%f" if self.digits else "")
        day = self.gap.join({"Y": "%Y", "M": "%m", "D": "%d"}[part] for part in self.order)
        return (self.join if day and time else "").join(filter(None, (day, time))) + self.zone

    @property
    def unit(self) -> str:
        """The finest unit that the texts show."""
        if self.time in ("", "hm"):
            return "m" if self.time else "D"
        return "s" if not self.digits else ("ms", "us", "ns")[(self.digits - 1) // 3]

    def pattern(self) -> str:
        """The regular expression of one text, its parts named."""
        compact = self.order and not self.gap
        two = {k: v.replace("1,2", "2") for k, v in _PARTS.items()} if compact else _PARTS
        day = re.escape(self.gap).join(two[part] for part in self.order)
        time = {"": "", "hm": r"(?P<h>\d{1,2}):(?P<m>\d{2})", "hms": r"(?P<h>\d{1,2}):(?P<m>\d{2}):(?P<s>\d{2})"}[
            self.time
        ]
        if self.digits:
            time += rf"(?:\.(?P<f>\d{{1,{self.digits}}}))" + ("?" if self.loose else "")
        zone = r"(?P<z>Z|[+-]\d{2}:?\d{2})" if self.zones else re.escape(self.zone)
        return "^" + (self.join if day and time else "").join(filter(None, (day, time))) + zone + "$"


def parse(texts: "pa.Array", form: Form, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """(steps, ok): int64 steps of `unit` of each text, and which texts are moments of this form."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = pc.extract_regex(texts, form.pattern())
    ok = pc.is_valid(parts).to_numpy(zero_copy_only=False)
    fields = {parts.type.field(i).name: pc.struct_field(parts, [i]) for i in range(parts.type.num_fields)}

    def whole(name: str, default: int) -> np.ndarray:
        if name not in fields:
            return np.full(len(texts), default, np.int64)
        cells = pc.fill_null(fields[name], str(default))
        return pc.if_else(pc.equal(cells, ""), str(default), cells).cast(pa.int64()).to_numpy(zero_copy_only=False)

    year, month, day = whole("Y", 1970), whole("M", 1), whole("D", 1)
    hour, minute, second = whole("h", 0), whole("m", 0), whole("s", 0)
    ok = ok & (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1) & (hour < 24) & (minute < 60) & (second < 60)
    months = (year - 1970).astype("M8[Y]").astype("M8[M]") + np.clip(month - 1, 0, 11)
    days = months.astype("M8[D]") + (day - 1)
    ok = ok & (days.astype("M8[M]") == months)
    seconds = days.astype("M8[s]").astype(np.int64) + hour * 3600 + minute * 60 + second
    if form.zones:
        seconds -= _offsets(fields["z"]) - offset(form.zone)
    return _in_unit(seconds, _fraction(fields.get("f"), len(texts)), unit), ok


def _fraction(cells: "pa.Array | None", n: int) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if cells is None:
        return np.zeros(n, np.int64)
    return pc.utf8_rpad(pc.fill_null(cells, "0"), 9, "0").cast(pa.int64()).to_numpy(zero_copy_only=False)


def _in_unit(seconds: np.ndarray, nanos: np.ndarray, unit: str) -> np.ndarray:
    if unit in ("ns", "us", "ms"):
        per = {"ns": 10**9, "us": 10**6, "ms": 10**3}[unit]
        return seconds * per + nanos // (10**9 // per)
    return seconds // {"s": 1, "m": 60, "h": 3600, "D": 86400}[unit]


def offset(zone: str) -> int:
    """Seconds by which the clock of a zone such as +01:00 is ahead of UTC."""
    if zone in ("", "Z"):
        return 0
    digits = zone[1:].replace(":", "")
    return (-1 if zone[0] == "-" else 1) * (int(digits[:2]) * 3600 + int(digits[2:]) * 60)


def _offsets(cells: "pa.Array") -> np.ndarray:
    import pyarrow.compute as pc

    coded = pc.fill_null(cells, "").dictionary_encode()
    return np.array([offset(zone) for zone in coded.dictionary.to_pylist()] or [0], np.int64)[coded.indices.to_numpy()]


def render(steps: np.ndarray, form: Form, unit: str) -> "pa.Array":
    """The texts, large_string, of moments, none missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    when = steps.astype(f"M8[{unit}]")
    days, months, years = when.astype("M8[D]"), when.astype("M8[M]"), when.astype("M8[Y]")
    second = (when.astype("M8[s]") - days.astype("M8[s]")).astype(np.int64)
    numbers = {
        "Y": (years.astype(np.int64) + 1970, 4),
        "M": ((months - years.astype("M8[M]")).astype(np.int64) + 1, 2 if form.pad else 1),
        "D": ((days - months.astype("M8[D]")).astype(np.int64) + 1, 2 if form.pad else 1),
        "h": (second // 3600, 2),
        "m": (second // 60 % 60, 2),
        "s": (second % 60, 2),
    }

    def joined(letters: str, gap: str) -> Any:
        texts = [pc.utf8_lpad(pa.array(numbers[x][0]).cast(pa.large_string()), numbers[x][1], "0") for x in letters]
        return glue(*texts, gap=gap) if texts else None

    time = joined(form.time, ":")
    if form.digits:
        nanos = (when - when.astype("M8[s]")).astype(np.int64) * {"ns": 1, "us": 1000, "ms": 10**6}.get(unit, 0)
        part = pa.array(nanos // 10 ** (9 - form.digits)).cast(pa.large_string())
        longer = glue(time, pc.utf8_lpad(part, form.digits, "0"), gap=".")
        time = pc.if_else(pa.array(nanos == 0), time, longer) if form.loose else longer
    both = [part for part in (joined(form.order, form.gap), time) if part is not None]
    text = glue(*both, gap=form.join)
    return glue(text, form.zone) if form.zone else text


def proposals(texts: "pa.Array") -> list[Form]:
    """The forms that the first texts could have."""
    matches = [_ANY.fullmatch(text) for text in texts[:200].to_pylist()]
    if not matches or not all(match and match.group() for match in matches):
        return []
    found = [match for match in matches if match]
    first = found[0]
    digits = {len(match.group(6) or "") for match in found}
    zones = [match.group(7) or "" for match in found]
    time = ("hms" if first.group(5) else "hm") if ":" in re.sub(r"[+-]\d{2}:?\d{2}$", "", first.group()) else ""
    orders = ["YMD"] if first.group(1) else ["DMY", "MDY"] if first.group(3) else [""]
    base = Form(
        "", first.group(2) or first.group(3) or "", True, first.group(4) or "", time, max(digits), len(digits) > 1,
        max(set(zones), key=zones.count), len(set(zones)) > 1,
    )  # fmt: skip
    if base.zones and "" in zones:
        return []
    if base.zone and not time:
        return []
    return [replace(base, order=order, pad=pad) for order in orders for pad in (True, False)]


def find_form(texts: "pa.Array") -> Form | None:
    """The one form in which every text is a moment and that gives the texts back; None where none or two do."""
    import pyarrow.compute as pc

    if pc.any(pc.greater(pc.utf8_length(texts), 40)).as_py():
        return None
    fits: dict[str, Form] = {}
    for form in proposals(texts):
        if not form.gap and form.order and not form.time and not _plausible(texts):
            continue
        steps, ok = parse(texts, form, form.unit)
        if not ok.all() or form.order in fits or (form.unit == "ns" and not _in_reach(texts, form)):
            continue
        if form.zones or pc.all(pc.equal(render(steps, form, form.unit), texts)).as_py():
            fits[form.order] = form
    orders = list(fits.values())
    return orders[0] if len(orders) == 1 or (orders and orders[0].gap == ".") else None


def _plausible(texts: "pa.Array") -> bool:
    """Eight digits are taken for dates only if there are several, all of years 1900 to 2100."""
    import pyarrow.compute as pc

    return len(texts) >= 5 and pc.all(pc.match_substring_regex(texts, r"^(19|20|2100)\d+$")).as_py()


def _in_reach(texts: "pa.Array", form: Form) -> bool:
    years, _ = parse(texts, form, "D")
    return bool((np.abs(years) < 106000).all())


def form_of(words: str) -> Form:
    """The form of strftime letters such as %d/%m/%Y or %Y-%m-%d %H:%M:%S; CodecError for others."""
    match = re.fullmatch(r"(%[Ymd])([-/.]?)(%[Ymd])\2(%[Ymd])(?:([T ])(%H:%M)(:%S)?)?(Z?)", words)
    if not match or {match[1], match[3], match[4]} != set(_WORDS):
        raise CodecError(f"expected a format of dates such as %d/%m/%Y or %Y-%m-%d %H:%M:%S, got {words!r}")
    order = "".join(_WORDS[match[i]] for i in (1, 3, 4))
    return Form(order, match[2], True, match[5] or " ", "hms" if match[7] else "hm" if match[6] else "", zone=match[8])


def coarsest(steps: np.ndarray, unit: str) -> tuple[np.ndarray, str]:
    """The steps in the coarsest unit that holds them all exactly, and this unit."""
    for factor, coarser in list(zip(FACTORS, UNITS[1:], strict=True))[UNITS.index(unit) :]:
        if not len(steps) or (steps % factor).any():
            break
        steps, unit = steps // factor, coarser
    return steps, unit


def convert(steps: np.ndarray, unit: str, to: str) -> np.ndarray:
    """Steps of one unit as steps of another, rounded down."""
    a, b = UNITS.index(unit), UNITS.index(to)
    if a <= b:
        return steps // int(np.prod(FACTORS[a:b], dtype=np.int64))
    return steps * int(np.prod(FACTORS[b:a], dtype=np.int64))


def literal(value: Any, form: Form | None, unit: str, name: str, zone: str | None = None) -> tuple[int, int]:
    """The first and the last step of a moment as a user writes it: 2020-05 is all of May 2020.

    With a time zone, the user's clock is that of the zone and the steps are UTC's. Raises CodecError where it is no
    moment.
    """
    import pyarrow as pa

    if isinstance(value, datetime) and value.tzinfo is not None:
        value = value.astimezone(ZoneInfo(zone or "UTC")).replace(tzinfo=None)
    text = value.isoformat() if isinstance(value, date | datetime) else str(value).strip()
    if form is not None:
        steps, ok = parse(pa.array([text], pa.large_string()), replace(form, loose=True), form.unit)
        if ok[0]:
            return _ends(steps.astype(f"M8[{form.unit}]")[0], unit, None)
    clock = re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", text)
    try:
        moment = np.datetime64(f"1970-01-01T{text:>05}" if clock else text.removesuffix("Z").replace(" ", "T"))
        return _ends(moment, unit, None if text.endswith("Z") else zone)
    except ValueError:
        raise CodecError(f"column {name!r}: expected a date such as 2020-05-31, got {text!r}") from None


def _ends(moment: np.datetime64, unit: str, zone: str | None) -> tuple[int, int]:
    own = np.datetime_data(moment.dtype)[0]
    if zone:
        first, last = (_utc(end, zone) for end in (moment, moment + 1))
        fine = "us" if unit != "ns" else unit
        low, high = (int(end.astype(f"M8[{fine}]").astype(np.int64)) for end in (first, last))
        factor = int(convert(np.array([1]), unit, fine)[0])
        return -(-low // factor), (high - 1) // factor
    if own in UNITS and UNITS.index(own) <= UNITS.index(unit):
        at = int(convert(np.array([moment.astype(np.int64)]), own, unit)[0])
        return at, at
    return int(moment.astype(f"M8[{unit}]").astype(np.int64)), int(
        (moment + 1).astype(f"M8[{unit}]").astype(np.int64)
    ) - 1


def _utc(moment: np.datetime64, zone: str) -> np.datetime64:
    import pyarrow as pa
    import pyarrow.compute as pc

    local = pa.array([int(moment.astype("M8[us]").astype(np.int64))], pa.timestamp("us"))
    there = pc.assume_timezone(local, zone, ambiguous="earliest", nonexistent="latest")
    return np.datetime64(there.cast(pa.int64())[0].as_py(), "us")
