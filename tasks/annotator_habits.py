"""What shows in when, how surely and how one-sidedly somebody votes: a look at how they work, and no proof."""

from dataclasses import dataclass

import numpy as np

from tasks.stats.ballots import Ballots
from tasks.stats.false_discovery import holm
from tasks.stats.policies import cue_counts, leaning_p_values
from tasks.stats.rater_calibration import Calibration, calibration
from tasks.stats.regularity import regularity_p_values
from tasks.stats.response_model import Crowd
from tasks.stats.timing import Timing, timing


@dataclass(frozen=True)
class Leaning:
    """(annotators,) share of votes that follow a cue, of `known` votes, and who leans unlike the crowd."""

    follows: np.ndarray
    known: np.ndarray
    unusual: np.ndarray


@dataclass(frozen=True)
class Habits:
    """None where the votes lack the column that it needs. (annotators,) bool: who is unusually `fast`, sure or `regular`,
    tires, or whose confidence drifts from what is right."""

    timing: Timing | None
    calibration: Calibration | None
    fast: np.ndarray
    always_sure: np.ndarray
    drifting: np.ndarray
    regular: np.ndarray
    tiring: np.ndarray
    leanings: dict[str, Leaning]

    @property
    def cells(self) -> np.ndarray:
        """(annotators,) codes of what makes somebody suspect beforehand."""
        codes: np.ndarray = self.fast + 2 * self.always_sure + 4 * self.regular
        return codes


def habits(b: Ballots, crowd: Crowd, level: float) -> Habits:
    """Each test at family-wise `level`."""
    nobody = np.zeros(b.n_annotators, dtype=bool)
    fast, tiring, regular, times = nobody, nobody, nobody, None
    if b.time is not None:
        times = timing(b.who, b.time, crowd.right, b.in_time, b.n_annotators)
        fast, tiring = holm(times.fast_p, level), holm(times.tiring_p, level)
        regular = holm(regularity_p_values(b.who, crowd.residual, b.in_time, b.n_annotators), level)
    stated = None
    always_sure, drifting = nobody, nobody
    if b.confidence is not None:
        order = None if b.time is None else b.in_time
        stated = calibration(b.who, b.confidence, crowd.right, b.n_annotators, order)
        always_sure, drifting = holm(stated.sure_p, level), holm(stated.drift_p, level)
    return Habits(times, stated, fast, always_sure, drifting, regular, tiring, _leanings(b, times, level))


def _leanings(b: Ballots, times: Timing | None, level: float) -> dict[str, Leaning]:
    found = {}
    counted = {name: cue_counts(b, cue) for name, cue in b.cues.items()}
    if b.undecided is not None:
        counted["undecided"] = (b.undecided, b.per_annotator() + b.undecided)
    if times is not None:
        counted["night"] = (times.night, times.dated)
    for name, (follows, known) in counted.items():
        unusual = holm(leaning_p_values(follows, known), level)
        found[name] = Leaning(follows / np.maximum(known, 1), known, unusual)
    return found
