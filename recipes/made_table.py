"""A made table of known p(x): orders of a delivery service, eight columns of eight kinds.

Each column has a conditional law, given the columns before it, that is written down in a few lines, drawn from by
`sample` and evaluated by `cells`:

    log p(row) = sum_j log P(cell_j | cells before j) - log h_j,      h = 0.01 for weight and tip, 1 for the others,

in nats, the measure in which pofx scores (docs/measure.md). So `-mean(log_prob)` over unseen rows is the ceiling of
every model: no model does better than it on average, whatever its size.

    city      one of eight, of falling frequency
    country   determined by the city
    age       18 to 90, by city; a quarter of the customers round it to a multiple of five
    member    yes or no, by age and city
    ordered   a day of three years: business grows, members order at weekends
    weight    kilograms with two decimals, log-normal by country and membership; missing at 3 or 10 %
    tip       nothing, or an amount with two decimals, log-normal by weight
    rating    1 to 5 by tip and country; missing more often where nobody is a member
"""

import numpy as np
import pandas as pd
from scipy.special import expit, ndtr, softmax

CITIES = np.array(["Lyon", "Bern", "Graz", "Lille", "Basel", "Linz", "Nice", "Chur"])
COUNTRIES = np.array(["France", "Switzerland", "Austria", "France", "Switzerland", "Austria", "France", "Switzerland"])
CITY = 1.0 / np.arange(2, 10) / (1.0 / np.arange(2, 10)).sum()
LAND = np.array([0, 1, 2, 0, 1, 2, 0, 1])
AGES = np.arange(18, 91)
DAYS = np.arange("2021-01-01", "2024-01-01", dtype="datetime64[D]")
RATINGS = np.array([1.0, 2.0, 3.0, 4.0, 5.0, np.nan])
LOG_STEPS = {"weight": np.log(0.01), "tip": np.log(0.01)}


def age_law() -> np.ndarray:
    """P(age | city), (8, 73): students and settled people, a quarter of them rounding to a multiple of five."""
    students = np.linspace(0.6, 0.1, len(CITIES))[:, None]
    true = students * softmax(-(((AGES - 24) / 4.0) ** 2) / 2) + (1 - students) * softmax(
        -(((AGES - 48) / 15) ** 2) / 2
    )
    rounded = 5 * ((AGES + 2) // 5)
    return 0.75 * true + 0.25 * true @ (rounded[:, None] == AGES)


def member_law(age: np.ndarray, city: np.ndarray) -> np.ndarray:
    """P(member | age, city)."""
    return expit(0.06 * (age - 45) - 0.5 + 1.5 * (city % 3 == 0))


def day_law() -> np.ndarray:
    """P(day | member), (2, days)."""
    growth = np.exp(0.8 * np.arange(len(DAYS)) / len(DAYS))
    weekend = (DAYS.astype(int) + 3) % 7 >= 5  # day 0, 1 January 1970, was a Thursday
    law = growth * np.where(weekend, np.array([[0.7], [2.5]]), 1.0)
    return law / law.sum(1, keepdims=True)


def weight_missing(land: np.ndarray) -> np.ndarray:
    """P(weight is missing | country)."""
    return np.where(land == 1, 0.10, 0.03)


def weight_law(land: np.ndarray, member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mu, sigma) of log weight."""
    return np.array([0.8, 1.2, 0.5])[land] + 0.4 * member, np.array([0.35, 0.5, 0.6])[land]


def tip_nothing(member: np.ndarray, age: np.ndarray) -> np.ndarray:
    """P(no tip | member, age)."""
    return expit(1.2 - 0.03 * (age - 18) - 0.8 * member)


def tip_law(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mu, sigma) of log tip where there is one; a missing weight counts as 2 kg."""
    return 0.7 * np.log(np.where(np.isnan(weight), 2.0, weight)), np.full(len(weight), 0.4)


def rating_law(tip: np.ndarray, land: np.ndarray, member: np.ndarray) -> np.ndarray:
    """P(rating | tip, country, member), (n, 6), the last for a missing one."""
    mood = np.where(tip > 0, 0.8 + 0.3 * np.log1p(tip), -0.3) + np.array([0.0, 0.5, -0.4])[land]
    given = softmax(-0.6 * (np.arange(5) - 2 - mood[:, None]) ** 2, axis=1)
    gone = np.where(member, 0.15, 0.45)[:, None]
    return np.concatenate([(1 - gone) * given, gone], axis=1)


def draw(law: np.ndarray, row: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One code from law[row] for each entry of row, by inverse CDF."""
    total = law.cumsum(1) / law.sum(1, keepdims=True)
    place = np.searchsorted((total + np.arange(len(law))[:, None]).ravel(), row + rng.random(len(row)), side="right")
    return np.minimum(place - row * law.shape[1], law.shape[1] - 1)


def draw_cents(mu: np.ndarray, sigma: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Log-normal draws, rounded to two decimals, 0.01 or more."""
    return np.maximum(np.round(np.exp(mu + sigma * rng.standard_normal(len(mu))), 2), 0.01)


def log_cents(v: np.ndarray, mu: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """log P of the cell [v - 0.005, v + 0.005) of a log-normal; the cell of 0.01 holds everything below it."""
    with np.errstate(divide="ignore", invalid="ignore"):
        low = (np.log(np.where(v < 0.015, 0.0, v - 0.005)) - mu) / sigma
        high = (np.log(v + 0.005) - mu) / sigma
        upper = low > 0  # the difference of the smaller tails keeps its digits
        mass = ndtr(np.where(upper, -low, high)) - ndtr(np.where(upper, -high, low))
        return np.log(np.where(v < 0.005, 0.0, mass))


def code(values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The index of each value among levels, -1 where it is none of them."""
    return pd.Index(levels).get_indexer(pd.Index(values))


class MadeTable:
    """The law of the eight columns.

    >>> rows = MadeTable().sample(1000, seed=0)
    >>> MadeTable().log_prob(rows).shape
    (1000,)
    """

    columns = ("city", "country", "age", "member", "ordered", "weight", "tip", "rating")

    def sample(self, n: int, seed: int = 0) -> pd.DataFrame:
        """n independent rows."""
        rng = np.random.default_rng(seed)
        city = draw(CITY[None], np.zeros(n, int), rng)
        age = AGES[draw(age_law(), city, rng)]
        land, member = LAND[city], rng.random(n) < member_law(age, city)
        day = DAYS[draw(day_law(), member.astype(int), rng)]
        weight = draw_cents(*weight_law(land, member), rng)
        weight[rng.random(n) < weight_missing(land)] = np.nan
        tip = np.where(rng.random(n) < tip_nothing(member, age), 0.0, draw_cents(*tip_law(weight), rng))
        rating = RATINGS[draw(rating_law(tip, land, member), np.arange(n), rng)]
        cells = (CITIES[city], COUNTRIES[city], age, member, day, weight, tip, pd.array(rating, dtype="Int64"))
        return pd.DataFrame(dict(zip(self.columns, cells, strict=True)))

    def cells(self, rows: pd.DataFrame) -> np.ndarray:
        """log P(cell_j | cells before j) - log h_j, nats, (n, 8); -inf where a row cannot occur."""
        city = code(rows["city"], CITIES)
        age, tip = rows["age"].to_numpy(int), rows["tip"].to_numpy(float)
        member = rows["member"].to_numpy(bool)
        day = code(pd.to_datetime(rows["ordered"]).to_numpy("datetime64[D]"), DAYS.astype("datetime64[s]"))
        weight = rows["weight"].to_numpy(float, na_value=np.nan)
        rating = code(rows["rating"].to_numpy(float, na_value=np.nan), RATINGS)
        land, gone, nothing = LAND[city], weight_missing(LAND[city]), tip_nothing(member, age)
        with np.errstate(divide="ignore"):
            laws = {
                "city": np.where(city < 0, -np.inf, np.log(CITY)[city]),
                "country": np.where(rows["country"].to_numpy() == COUNTRIES[city], 0.0, -np.inf),
                "age": self._listed(age_law(), city, code(age, AGES)),
                "member": np.log(np.where(member, member_law(age, city), 1 - member_law(age, city))),
                "ordered": self._listed(day_law(), member.astype(int), day),
                "weight": np.where(np.isnan(weight), np.log(gone), np.log1p(-gone) - LOG_STEPS["weight"]
                                   + log_cents(weight, *weight_law(land, member))),
                "tip": np.where(tip == 0, np.log(nothing), np.log1p(-nothing)
                                + log_cents(tip, *tip_law(weight))) - LOG_STEPS["tip"],
                "rating": self._listed(rating_law(tip, land, member), np.arange(len(rows)), rating),
            }  # fmt: skip
        return np.stack([laws[name] for name in self.columns], axis=1)

    def log_prob(self, rows: pd.DataFrame) -> np.ndarray:
        """log p of each row, nats, (n,)."""
        return self.cells(rows).sum(1)

    @staticmethod
    def _listed(law: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        return np.where(column < 0, -np.inf, np.log(law[row, column]))
