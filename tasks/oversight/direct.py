"""Direct judgement: the judge reads the question and nothing else. What every other protocol has to beat."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.oversight.protocol import Case, Configured, Judgements, Participants, Question


@dataclass(frozen=True)
class Direct:
    """No expert, no turns."""

    def __call__(self, questions: Sequence[Question], people: Participants, rng: np.random.Generator) -> Judgements:
        """The judge's own reading of every question; nothing is drawn."""
        return Judgements(people.judge.log_odds([Case(q) for q in questions]), [() for _ in questions])


PROTOCOL = Configured(lambda _: Direct(), lambda _: ())
