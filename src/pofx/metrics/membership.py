"""Membership inference: can one tell, from the synthetic rows, who was in the training rows."""

import numpy as np

from ..spec import Columns
from . import Answer, Answers, Case, Skip, count, learner, metric, some, take
from .distance import Space, affordable, nearest
from .interval import auc, caught, error

MEMBERS = 2000
REFERENCE = 30_000
LEAST = 100
NEIGHBOUR = 5


def ratio(case: Case, reference: Columns, rows: Columns) -> np.ndarray:
    """log p(synthetic) / p(reference) of each row, by a classifier between the two."""
    rng = case.generator(51)
    n = case.at_most(min(count(case.fake), 4 * count(reference)))
    fields = learner.judged(case.fields, case.seed)
    fake, real = learner.matrix(fields, some(case.fake, n, rng)), learner.matrix(fields, reference)
    weight = np.repeat([0.5 / len(fake), 0.5 / len(real)], [len(fake), len(real)])
    model = learner.classifier(learner.name(), case.seed)
    x, y = np.concatenate([fake, real]), np.arange(len(weight)) < len(fake)
    with learner.one_thread():
        model.fit(x, y, sample_weight=weight * len(weight))
        p = np.clip(model.predict_proba(learner.matrix(fields, rows))[:, 1], 1e-9, 1 - 1e-9)
    return np.log(p) - np.log1p(-p)


@metric(
    group="privacy",
    needs=("unseen",),
    better={
        "nearest_auc": "lower",
        "nearest_caught": "lower",
        "ratio_auc": "lower",
        "ratio_caught": "lower",
        "worst_auc": "lower",
    },
    says={
        "nearest_auc": "membership attack by the nearest synthetic row: AUC (.5 is a coin)",
        "nearest_caught": "... members it finds at 1 % false alarms (.01 is chance)",
        "ratio_auc": "membership attack by the density ratio: AUC (.5 is a coin)",
        "ratio_caught": "... members it finds at 1 % false alarms (.01 is chance)",
        "worst_auc": "the stronger attack on the tenth of the people who are most unlike others: AUC",
    },
    stand_in="half",
)
def membership(case: Case) -> Answers:
    """Two attacks that score real rows, members (training) against as many non-members (unseen).

    `nearest`: minus the distance to the nearest synthetic row; `ratio`: log p(synthetic)/p(reference), the reference
    being the other half of the unseen rows (DOMIAS, van Breugel et al., 2023, with a classifier for the densities).
    Each gives its AUC and the share of members found at 1 % false positives. `worst_auc` is the larger AUC of the two
    over the tenth of rows whose fifth neighbour among the reference rows is farthest.
    """
    size = min(count(case.train), count(case.unseen) // 2)
    size = case.at_most(min(MEMBERS, size))
    if size < LEAST or count(case.fake) < LEAST:
        raise Skip(f"the attacks need {2 * LEAST} unseen rows and {LEAST} others, there are {count(case.unseen)}")
    rng = case.generator(50)
    cut = rng.permutation(count(case.unseen))
    reference = take(case.held_out, cut[size:][: case.at_most(REFERENCE)])
    fake = some(case.fake, case.at_most(REFERENCE), rng)
    size = affordable(size, 2 * (count(fake) + count(reference)), len(case.fields), 4e9)
    rows = {f.name: np.concatenate([some(case.train, size, case.generator(52))[f.name],
                                    case.held_out[f.name][cut[:size]]]) for f in case.fields}  # fmt: skip
    a, b, c = Space(case.fields, case.train)(rows, fake, reference)
    attacks = {"nearest": -nearest(a, b)[0], "ratio": ratio(case, reference, rows)}
    alone = nearest(a, c, neighbour=min(NEIGHBOUR, len(c)))[0]
    return _figures(case, attacks, np.arange(2 * size) < size, alone)


def _figures(case: Case, attacks: dict[str, np.ndarray], member: np.ndarray, alone: np.ndarray) -> Answers:
    out, n = {}, int(member.sum())
    worst = np.argsort(-alone, kind="stable")[: max(len(alone) // 10, 20)]
    for name, score in attacks.items():
        for key, measure in (("auc", auc), ("caught", caught)):
            spread = error(lambda r, s=score, m=measure: m(s[r], member[r]), (2 * n,), case.draws, case.generator(53))
            out[f"{name}_{key}"] = Answer(measure(score, member), spread, n)
    areas = {name: auc(score[worst], member[worst]) for name, score in attacks.items()}
    name = max(areas, key=lambda k: np.nan_to_num(areas[k], nan=-1))
    spread = error(
        lambda r: auc(attacks[name][worst[r]], member[worst[r]]), (len(worst),), case.draws, case.generator(54)
    )
    if np.isfinite(areas[name]):
        out["worst_auc"] = Answer(areas[name], spread, len(worst), {"attack": name, "areas": areas})
    return out
