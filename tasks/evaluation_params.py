"""Sections of `params.yaml` on `attestrl evaluate`: the suite, its judge, and bounds as hypotheses."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from tasks.param_types import Count, Endpoint, Positive, Section


class FineTuning(Section):
    """A user's later fine-tune of the policy on problems (`data`, name: file): how full and LoRA fine-tunes train."""

    data: dict[str, str] = Field(default_factory=dict)
    learning_rate: Positive = 5e-5
    lora_learning_rate: Positive = 2e-3
    lora_rank: Count = 8
    batch: Count = 8


class Suite(Section):
    """`attestrl evaluate`: the files it reads beside the run's own held-out sides (name: file), and how much of each;
    `judge` judges beside the held-out reward model; `harness` and `inspect` name tasks of lm-evaluation-harness and Inspect (name: task)."""

    items: Count = 100
    samples: Count = 2
    max_new_tokens: Count = 48
    temperature: Positive = 0.7
    best_of: Annotated[int, Field(ge=2)] = 8
    resamples: Count = 1000
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    judge: Endpoint | None = None
    pairs: dict[str, str] = Field(default_factory=dict)
    harmful: dict[str, str] = Field(default_factory=dict)
    harmless: dict[str, str] = Field(default_factory=dict)
    sycophancy: dict[str, str] = Field(default_factory=dict)
    pronouns: dict[str, str] = Field(default_factory=dict)
    multiple_choice: dict[str, str] = Field(default_factory=dict)
    instructions: dict[str, str] = Field(default_factory=dict)
    problems: dict[str, str] = Field(default_factory=dict)
    harness: dict[str, str] = Field(default_factory=dict)
    inspect: dict[str, str] = Field(default_factory=dict)
    fine_tuning: FineTuning = Field(default_factory=FineTuning)

    def files(self) -> list[Path]:
        """Every file that the suite reads or runs, as it is named."""
        named = (
            self.pairs, self.harmful, self.harmless, self.sycophancy, self.pronouns, self.multiple_choice,
            self.instructions, self.problems, self.harness, self.inspect, self.fine_tuning.data,
        )  # fmt: skip
        paths = (Path(path.partition("@")[0]) for files in named for path in files.values())
        return [p for p in paths if p.is_file()]


class Hypothesis(Section):
    """A bound that a figure of the suite must keep; `slice` null: the figure of the whole."""

    metric: str
    slice: str | None = None
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _one_side(self) -> "Hypothesis":
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("give exactly one of at_least and at_most")
        return self


class Hypotheses(Section):
    """The family of thresholds, tested together: family-wise level (Holm), and the power to plan sample sizes for."""

    level: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    power: Annotated[float, Field(gt=0.5, lt=1)] = 0.8
    family: list[Hypothesis] = Field(default_factory=list)
