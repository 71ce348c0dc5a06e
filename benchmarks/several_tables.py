"""Several tables: children a parent, rows beside their parents, keys, and conditionals that are known.

    make bench-several-tables
    python benchmarks/several_tables.py --minutes 2 --seeds 0 1 2

A made shop of 3,000 customers, their orders and events, lines of orders, and 40 products that lines refer to. Gold
customers order more; an order's amount follows the earlier one; orders of the web have fewer things a line, and more
books; events are a view, then a cart, then perhaps a purchase. Figures are those of `evaluate` (the largest difference
of distribution functions of children a parent; AUC of a judge of rows with their parent and earlier sibling), each
beside its floor (held-out real rows) and a trivial baseline (thrown at random, context shuffled); rows that break a
key; and, real and drawn, the conditionals that the shop was made by.
"""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import pofx
from record import asking, measure

HERE = Path(__file__).parent
PACKAGES = ("torch", "numpy", "pandas", "scikit-learn")
CUSTOMERS, PRODUCTS = 3000, 40


def shop(seed: int) -> dict[str, pd.DataFrame]:
    rng, n = np.random.default_rng([seed, 9]), CUSTOMERS
    gold = rng.random(n) < 0.3
    joined = np.datetime64("2022-01-01") + rng.integers(0, 700, n)
    customers = pd.DataFrame({"id": np.arange(n) + 1, "class": np.where(gold, "gold", "plain"), "joined": joined})
    count = np.where(gold, rng.poisson(3, n) + 1, rng.poisson(1.2, n))
    who = np.repeat(np.arange(n), count)
    first = np.r_[True, who[1:] != who[:-1]]
    wait = rng.integers(1, np.where(gold[who], 20, 80))
    base, amount, placed = np.exp(rng.normal(3, 0.5, n)), np.zeros(len(who)), np.zeros(len(who), "M8[D]")
    for i, c in enumerate(who):
        level = base[c] if first[i] else amount[i - 1]
        amount[i] = round(float(level * np.exp(rng.normal(0, 0.15))), 2)
        placed[i] = (joined[c] if first[i] else placed[i - 1]) + wait[i]
    web = rng.random(len(who)) < np.where(gold[who], 0.7, 0.4)
    orders = pd.DataFrame({"id": np.arange(len(who)) + 1, "customer_id": who + 1, "placed": placed,
                           "channel": np.where(web, "web", "shop"), "amount": amount})  # fmt: skip
    kind = np.array(["book", "toy", "food", "tool"])[np.arange(PRODUCTS) % 4]
    products = pd.DataFrame({"id": np.arange(PRODUCTS) + 1, "kind": kind, "price": rng.gamma(3, 5, PRODUCTS).round(2)})
    of = np.repeat(np.arange(len(who)), 1 + rng.poisson(np.where(web, 0.5, 2.0)))
    is_book = rng.random(len(of)) < np.where(web[of], 0.8, 0.2)
    books = np.flatnonzero(kind == "book")
    bought = np.where(is_book, rng.choice(books, len(of)), rng.choice(np.flatnonzero(kind != "book"), len(of)))
    quantity = 1 + rng.poisson(np.where(web[of], 0.5, 3.0))
    lines = pd.DataFrame({"id": np.arange(len(of)) + 1, "order_id": of + 1, "product_id": bought + 1,
                          "quantity": quantity})  # fmt: skip
    bought_it = rng.random(n) < np.where(gold, 0.9, 0.4)
    by = np.repeat(np.arange(n), 2 + bought_it)
    step = np.concatenate([np.arange(2 + one) for one in bought_it])
    at = joined[by].astype("M8[s]") + np.cumsum(rng.integers(60, 4000, len(by))) % 80_000 + step * 86_400
    events = pd.DataFrame({"id": np.arange(len(by)) + 1, "customer_id": by + 1, "at": at,
                           "what": np.array(["view", "cart", "buy"])[step]})  # fmt: skip
    return {"customers": customers, "products": products, "orders": orders, "lines": lines, "events": events}


def known(tables: dict[str, pd.DataFrame]) -> dict[str, float]:
    """The conditionals that the shop was made by, in some tables."""
    customers, orders, lines = tables["customers"], tables["orders"], tables["lines"]
    orders = orders.merge(customers, left_on="customer_id", right_on="id", suffixes=("", "_customer"))
    count = orders.groupby("customer_id").size().reindex(customers["id"], fill_value=0).to_numpy()
    gold = (customers["class"] == "gold").to_numpy()
    lines = lines.merge(orders, left_on="order_id", right_on="id", suffixes=("", "_order"))
    lines = lines.merge(tables["products"], left_on="product_id", right_on="id", suffixes=("", "_product"))
    web = lines["channel"] == "web"
    amount = orders.sort_values(["customer_id", "placed"])
    before = amount.groupby("customer_id")["amount"].shift()
    events = tables["events"].sort_values(["customer_id", "at"])
    after = events.groupby("customer_id")["what"].shift(-1)[events["what"] == "cart"]
    return {
        "orders, gold": float(count[gold].mean()), "orders, plain": float(count[~gold].mean()),
        "quantity, web": float(lines.loc[web, "quantity"].mean()),
        "quantity, shop": float(lines.loc[~web, "quantity"].mean()),
        "P(book | web)": float((lines.loc[web, "kind"] == "book").mean()),
        "P(book | shop)": float((lines.loc[~web, "kind"] == "book").mean()),
        "corr(log amount, earlier)": float(np.log(amount["amount"]).corr(np.log(before))),
        "P(buy | cart)": float((after == "buy").mean()),
    }  # fmt: skip


def run(seed: int, minutes: float) -> dict[str, Any]:
    tables = shop(seed)
    model = pofx.fit(tables, minutes=minutes, seed=seed, threads=1, quiet=True)
    drawn = model.sample(scale=1.0, seed=seed, quiet=True)
    told = model.evaluate(tables, seed=seed, quiet=True).to_json()
    row = {"seed": seed, "minutes": minutes, "rows": told["rows"], "fit_seconds": model.provenance["fit seconds"]}
    return row | told | {"real": known(tables), "drawn": known(drawn)}


def printed(rows: list[dict[str, Any]]) -> str:
    """Medians over seeds."""

    def middle(*path: str) -> float:
        values = []
        for row in rows:
            value: Any = row
            for key in path:
                value = value[key]
            values.append(value)
        return float(np.median(values))

    lines = ["| figure | drawn | floor, or real | trivial |", "|---|---|---|---|"]
    for part, key, words in (("pairs", "auc", "AUC of {}"), ("children", "distance", "children: {}")):
        for name in rows[0][part]:
            cells = (f"{middle(part, name, k):.3f}" for k in (key, "floor", "trivial"))
            lines.append(f"| {words.format(name)} | {' | '.join(cells)} |")
    lines += [f"| {k} | {middle('drawn', k):.2f} | {middle('real', k):.2f} | |" for k in rows[0]["real"]]
    wrong = max(sum(row["keys"].values()) for row in rows)
    return "\n".join([*lines, f"| rows that break a key, of {len(rows[0]['keys'])} | {wrong} | 0 | |"])


def main() -> None:
    ask = asking(__doc__, HERE / "results" / "several_tables.json", data=(), seeds=(0,))
    ask.add_argument("--minutes", type=float, default=2.0)
    told = ask.parse_args()
    torch.set_num_threads(told.threads)
    measure(told, ("seed",), itertools.product(told.seeds), lambda seed: run(seed, told.minutes), printed, PACKAGES)


if __name__ == "__main__":
    main()
