"""Card of one model, from plain facts. Gaps stay visible: what is not known is said to be not known."""

from dataclasses import dataclass, field
from typing import Any

from governance.template import render


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model. `metrics` are rows of {name, value, low, high, n}."""

    name: str
    kind: str
    sha256: str
    base_sha256: str | None = None
    mlflow_run_id: str | None = None
    git_commit: str | None = None
    seed: int | None = None
    inputs: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    intended_use: str | None = None
    limits: str | None = None
    simulated: str | None = None


def model_card(facts: ModelFacts) -> str:
    """Markdown model card (after Mitchell et al. 2019)."""
    return render("model_card.md.j2", m=facts)
