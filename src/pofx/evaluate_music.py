"""Evidence on a model of music: likelihood of unseen pieces beside simpler laws, and how samples sound beside them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np

from .evaluate_text import PAGE, table_of
from .metrics.chords import FIGURES, Independent, key_distance, share_known
from .metrics.likelihood import mean_error
from .metrics.ngram import NGram
from .metrics.voices import Lines, apart

ORDER = 5
UNSEEN = "unseen (floor)"


@dataclass
class MusicEvidence:
    """nats: of a step of unseen music by law, with its standard error; sound: figures of samples, of training and of
    unseen music; rows: how many; words: what that means.
    """

    nats: dict[str, tuple[float, float]]
    sound: dict[str, dict[str, float]]
    rows: dict[str, int]
    words: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """Lines for a terminal."""
        lines = [*self.words, f"nats a step of unseen music ({self.rows['steps']:,} steps)"]
        lines += [f"  {name:<28} {value:.3f} +- {2 * error:.3f}" for name, (value, error) in self.nats.items()]
        names = list(next(iter(self.sound.values())))
        lines.append("  ".join(["pieces".ljust(28), *names]))
        for name, row in self.sound.items():
            lines.append("  ".join([f"  {name:<26}", *(f"{row[k]:<{len(k)}.3f}" for k in names)]))
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        nats = {k: {"value": v, "standard error": e} for k, (v, e) in self.nats.items()}
        return {"nats a step": nats, "sound": self.sound, "rows": self.rows, "words": self.words}

    def html(self, title: str) -> str:
        """One page that needs no network."""
        nats = [["nats a step of unseen music", "value", "two standard errors"]]
        nats += [[k, f"{v:.3f}", f"{2 * e:.3f}"] for k, (v, e) in self.nats.items()]
        names = list(next(iter(self.sound.values())))
        rows = [["pieces", *names], *([k, *(f"{row[n]:.3f}" for n in names)] for k, row in self.sound.items())]
        words = "".join(f"<p>{escape(word)}</p>" for word in self.words)
        return PAGE.format(title=escape(title), words=words, tables=table_of(nats) + table_of(rows), drawn="")


def evaluate_music(
    nats: np.ndarray,
    learned: Sequence[np.ndarray],
    unseen: Sequence[np.ndarray],
    symbols: int,
    rolls: dict[str, list[np.ndarray]],
) -> MusicEvidence:
    """The evidence: `nats` of each unseen piece under the model; codes of training and of unseen pieces, with their
    END, for the law of five symbols; rolls, bool (steps, 128), of samples ("drawn"), of "learned" and "unseen" pieces.

    Beside the model stand a Kneser-Ney law of five symbols, and pitches of their own frequencies, which are independent
    of one another (their law says nothing of a piece's length).
    """
    steps = np.array([len(roll) for roll in rolls["unseen"]])
    gram, alone = NGram.learn(learned, symbols, ORDER), Independent(rolls["learned"])
    each = {
        "the model": nats,
        f"{ORDER}-gram, Kneser-Ney": np.array([-gram.log_prob(codes) for codes in unseen]),
        "independent pitches": np.array([-alone.log_prob(roll) for roll in rolls["unseen"]]),
    }
    told = {name: (float(one.sum() / steps.sum()), mean_error(one / steps)) for name, one in each.items()}
    sound = sounds(rolls, {"drawn": "drawn", "training": "learned", UNSEEN: "unseen"})
    gain = told[f"{ORDER}-gram, Kneser-Ney"][0] - told["the model"][0]
    words = [f"The model {'beats' if gain > 0 else 'LOSES to'} a {ORDER}-gram by {abs(gain):.3f} nats a step."]
    return MusicEvidence(told, sound, {"steps": int(steps.sum()), "drawn": len(rolls["drawn"])}, words)


def evaluate_voices(
    whole: np.ndarray, rest: np.ndarray, learned: Lines, unseen: Lines, rolls: dict[str, list[np.ndarray]]
) -> MusicEvidence:
    """The evidence on a model of V voices, as `evaluate_music`: `whole`, nats of each unseen piece, bounds; `rest`,
    those of all voices but the first given it; learned, unseen: pitches (steps, V), 0 for a rest; rolls of samples,
    "drawn", of unseen first voices with others drawn, "harmonised", of "learned" and "unseen" pieces.

    Beside the model stand laws of each voice by itself: of five notes (Kneser-Ney), of repeats, of frequencies.
    """
    steps = np.array([len(line) for line in unseen])
    each = {"the model, all voices (bound)": whole, "the model, given the first (bound)": rest}
    for name, values in apart(learned, unseen).items():
        each |= {f"{name}, all voices": -values.sum(1), f"{name}, all but the first": -values[:, 1:].sum(1)}
    told = {name: (float(one.sum() / steps.sum()), mean_error(one / steps)) for name, one in each.items()}
    keys = {"drawn": "drawn", "harmonised": "harmonised", "training": "learned", UNSEEN: "unseen"}
    own = told["the model, given the first (bound)"][0]
    best = min(value for name, (value, _) in told.items() if name.endswith("all but the first"))
    words = [
        f"Given the first voice the model {'beats' if own < best else 'LOSES to'} voices by themselves by "
        f"{abs(best - own):.3f} nats a step, {own / (unseen[0].shape[1] - 1):.3f} a note."
    ]
    rows = {"steps": int(steps.sum()), "drawn": len(rolls["drawn"])}
    return MusicEvidence(told, sounds(rolls, keys), rows, words)


def sounds(rolls: dict[str, list[np.ndarray]], keys: dict[str, str]) -> dict[str, dict[str, float]]:
    """Figures of rolls, by what they are called, beside "learned" and "unseen" ones."""
    return {
        name: {
            "pitch classes": key_distance(rolls[key], rolls["unseen"]),
            **{figure: of(rolls[key]) for figure, of in FIGURES.items()},
            "known runs": share_known(rolls[key], rolls["learned"]),
        }
        for name, key in keys.items()
    }
