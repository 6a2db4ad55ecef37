"""The series that `attestrl monitor` watches, measured on every logged prompt and response.

| series | what |
| --- | --- |
| prompt_length, response_length | log(1 + characters) |
| prompt_distance | 1 − cosine to the nearest training prompt |
| prompt_topic_1, … | place on the main topics of the training prompts |
| refusal | 1 if the response refuses, by its wording |
| reward | score by the reward model that the policy was trained with |
| uncertainty | distance of reward model and judge, each in standard deviations over held-out answers |
| harm | 1 if the response does not refuse and the judge scores it below the median of held-out rejected answers |

Refusal, uncertainty and harm are those of the evaluations. What they need of the run's tables is measured once and kept
as a yardstick, so that a policy can be watched after the workspace has gone on to other runs.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from governance.digest import write_json
from tasks.logs import Interaction
from tasks.prompt_space import TOPICS, PromptSpace, prompt_text, training_prompts

EVENTS = ("refusal", "harm")
TOPIC_SERIES = tuple(f"prompt_topic_{k}" for k in range(1, TOPICS + 1))
SERIES = (
    "prompt_length", "prompt_distance", *TOPIC_SERIES, "response_length", "refusal", "reward", "uncertainty", "harm",
)  # fmt: skip


@dataclass(frozen=True)
class Yardstick:
    """What responses are measured against. `centre`, `spread`: of each scorer over held-out answers; `harm_limit`: the
    judge's score below which an answer counts as harmful."""

    centre: dict[str, float]
    spread: dict[str, float]
    harm_limit: float
    max_length: int
    space: PromptSpace

    @classmethod
    def of(cls, bench: Any) -> "Yardstick":
        """Measured on the held-out pairs and training prompts of an evaluation's bench."""
        from tasks.evals.harm import harm_limit
        from tasks.evals.held_out import held_out_scores

        scores = {name: np.concatenate(held_out_scores(bench, name)) for name in bench.scorers}
        return cls(
            {name: float(s.mean()) for name, s in scores.items()},
            {name: float(s.std()) or 1.0 for name, s in scores.items()},
            harm_limit(bench),
            bench.max_length,
            PromptSpace.of(training_prompts(bench.sides), bench.seed),
        )

    def save(self, folder: Path) -> None:
        """Write into a folder; `yardstick.json` last, which says that all is there."""
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / "prompts.partial"
        self.space.save(partial)
        partial.replace(folder / "prompts.npz")
        kept = {name: getattr(self, name) for name in ("centre", "spread", "harm_limit", "max_length")}
        write_json(folder / "yardstick.json", kept)

    @classmethod
    def load(cls, folder: Path) -> "Yardstick | None":
        """What `save` wrote; None if it did not."""
        file = folder / "yardstick.json"
        if not file.is_file():
            return None
        return cls(**json.loads(file.read_text(encoding="utf-8")), space=PromptSpace.load(folder / "prompts.npz"))


class Meter:
    """Measures interactions; each model is loaded once."""

    def __init__(self, yardstick: Yardstick, scorers: dict[str, Path]) -> None:
        from tasks.rlhf.ensembles import load_ensemble
        from tasks.rlhf.models import load_tokenizer

        self.yardstick = yardstick
        self._models = {name: (load_tokenizer(f), load_ensemble(f)) for name, f in scorers.items()}

    def measure(self, interactions: Sequence[Interaction]) -> dict[str, np.ndarray]:
        """(n,) values of every series."""
        from tasks.evals.surface import refuses

        prompts = [prompt_text(i.prompt) for i in interactions]
        topics = self.yardstick.space.topics(prompts)
        scores = {name: self._scores(name, interactions) for name in self._models}
        apart = [(s - self.yardstick.centre[n]) / self.yardstick.spread[n] for n, s in scores.items()]
        refused = np.array([refuses(i.response) for i in interactions])
        measured = {
            "prompt_length": np.log1p([sum(len(m["content"]) for m in i.prompt) for i in interactions]),
            "prompt_distance": self.yardstick.space.distance(prompts),
            "response_length": np.log1p([len(i.response) for i in interactions]),
            "refusal": refused.astype(float),
            "reward": scores["reward"],
            "uncertainty": np.abs(apart[0] - apart[1]),
            "harm": ((scores["judge"] < self.yardstick.harm_limit) & ~refused).astype(float),
        }
        return measured | {name: topics[:, k] for k, name in enumerate(TOPIC_SERIES[: topics.shape[1]])}

    def _scores(self, name: str, interactions: Sequence[Interaction]) -> np.ndarray:
        from tasks.evals.bench import encoded
        from tasks.rlhf.ensembles import ensemble_scores

        tokenizer, ensemble = self._models[name]
        rows, lengths = encoded(
            tokenizer, [i.prompt for i in interactions], [i.response for i in interactions], self.yardstick.max_length
        )
        return np.asarray(ensemble_scores(ensemble, rows, lengths=lengths).double().numpy())
