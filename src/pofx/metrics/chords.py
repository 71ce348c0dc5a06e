"""What piano rolls sound like in figures: rolls are bool (steps, 128)."""

from collections.abc import Sequence

import numpy as np

Rolls = Sequence[np.ndarray]
KEYS = 12
CONSONANT = (0, 3, 4, 5, 7, 8, 9)  # semitones, of notes in a step
LEAST = 0.5  # counts that a pitch gets beyond those seen, shared among all: no roll is impossible


def pitch_classes(rolls: Rolls) -> np.ndarray:
    """How often each of the twelve pitch classes sounds, (12,), summing to one; even where nothing does."""
    total = sum((roll.sum(0) for roll in rolls), np.zeros(128))
    folded = np.bincount(np.arange(128) % KEYS, total, KEYS)
    return folded / folded.sum() if folded.sum() else np.full(KEYS, 1 / KEYS)


def key_distance(rolls: Rolls, others: Rolls) -> float:
    """Total variation, 0 to 1, between the pitch classes of these and of others."""
    return float(np.abs(pitch_classes(rolls) - pitch_classes(others)).sum() / 2)


def polyphony(rolls: Rolls) -> float:
    """Notes that sound in a step, on average."""
    return float(sum(roll.sum() for roll in rolls) / max(sum(map(len, rolls)), 1))


def share_repeated(rolls: Rolls) -> float:
    """The share of notes that sounded in the step before, too."""
    again = sum((roll[1:] & roll[:-1]).sum() for roll in rolls)
    return float(again / max(sum(roll[1:].sum() for roll in rolls), 1))


def share_consonant(rolls: Rolls) -> float:
    """The share of pairs of notes in a step that are consonant: thirds to sixths but the tritone, and octaves."""
    pairs = np.zeros(KEYS)
    for roll in rolls:
        for interval in range(1, 128):
            pairs[interval % KEYS] += (roll[:, interval:] & roll[:, :-interval]).sum()
    return float(pairs[list(CONSONANT)].sum() / max(pairs.sum(), 1))


def share_distinct_chords(rolls: Rolls) -> float:
    """Different chords, as a share of all steps."""
    chords = [row.tobytes() for roll in rolls for row in roll]
    return len(set(chords)) / max(len(chords), 1)


def share_known(rolls: Rolls, known: Rolls, steps: int = 4) -> float:
    """The share of runs of `steps` chords that occur in known pieces, in whatever key."""
    held = {run for roll in known for run in _runs(roll, steps)}
    runs = [run for roll in rolls for run in _runs(roll, steps)]
    return float(np.mean([run in held for run in runs])) if runs else 0.0


def _runs(roll: np.ndarray, steps: int) -> list[bytes]:
    """Runs of chords, moved so that the lowest pitch of each is 0."""
    out = []
    for i in range(len(roll) - steps + 1):
        part = roll[i : i + steps]
        used = np.flatnonzero(part.any(0))
        out.append(np.roll(part, -int(used[0]) if len(used) else 0, 1).tobytes())
    return out


class Independent:
    """Each pitch sounds in each step with the frequency it has, whatever else does: the trivial law of piano rolls."""

    def __init__(self, rolls: Rolls) -> None:
        steps = sum(map(len, rolls))
        self.p = (sum((roll.sum(0) for roll in rolls), np.zeros(128)) + LEAST / 128) / (steps + LEAST)

    def log_prob(self, roll: np.ndarray) -> float:
        """log p of a roll given its length, nats."""
        return float(np.where(roll, np.log(self.p), np.log1p(-self.p)).sum())


FIGURES = {
    "polyphony": polyphony,
    "consonant": share_consonant,
    "repeated": share_repeated,
    "distinct chords": share_distinct_chords,
}
