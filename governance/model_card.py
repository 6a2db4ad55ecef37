"""Card of one model, from plain facts. Gaps stay visible: what is not known is said to be not known."""

import re
from dataclasses import dataclass, field
from typing import Any

from governance.template import render

LICENCES = frozenset(
    [
        "apache-2.0",
        "mit",
        "bsd-2-clause",
        "bsd-3-clause",
        "cc0-1.0",
        "cc-by-4.0",
        "cc-by-sa-4.0",
        "cc-by-nc-4.0",
        "gpl-3.0",
        "lgpl-3.0",
        "mpl-2.0",
        "openrail",
        "gemma",
        "llama2",
        "llama3",
        "llama3.1",
        "llama3.2",
    ]
)
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model. `metrics` are rows of {name, value, low, high, n, slice}, `slice` the group that
    a figure is of; `base` is the name of the base model
    as params.yaml has it, `seconds` the time of the stage that made the model, `principles`
    rows of {id, text, source, reason, approved_by, revisions, pairs}: how many rows of each kind one shaped; `oversight` what is
    to know of the judge and the protocol by whose judgements pairs were made."""

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
    base: str | None = None
    base_licence: str | None = None
    seconds: float | None = None
    cpu_seconds: float | None = None
    watts_per_core: float | None = None
    principles: list[dict[str, Any]] = field(default_factory=list)
    oversight: str | None = None

    @property
    def energy(self) -> str | None:
        """Energy of the stage that made the model, by the only method there is without a meter: measured processor time
        times a declared draw. None where no time was measured."""
        if self.cpu_seconds is None:
            return None
        if self.watts_per_core is None:
            return f"not known: {self.cpu_seconds:.1f} CPU seconds, and `evidence.watts_per_core` is not declared"
        hours = self.cpu_seconds * self.watts_per_core / 3600
        return (
            f"about {hours:.3g} Wh, estimated: {self.cpu_seconds:.1f} CPU seconds (measured) × {self.watts_per_core:g} W "
            "a busy core (declared); accelerators, memory and idle draw are not in it"
        )


def model_card(facts: ModelFacts) -> str:
    """Markdown model card (after Mitchell et al. 2019), with the metadata that the Hugging Face Hub reads."""
    import yaml

    metadata = yaml.safe_dump(_metadata(facts), sort_keys=False, allow_unicode=True)
    return f"---\n{metadata}---\n{render('model_card.md.j2', m=facts)}"


def _metadata(m: ModelFacts) -> dict[str, Any]:
    """The Hub's terms: a licence by its identifier in lower case, and only that of the base, whose makers chose one; a
    base model only where it is one of the Hub's."""
    scores = m.kind in ("reward", "judge")
    task = "text-classification" if scores else "text-generation"
    found: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": task, "tags": ["attestrl", "rlhf", m.kind]}
    if m.base_licence and m.kind == "base":
        name = m.base_licence.split()[0].lower()
        known = {"license": name} if name in LICENCES else {"license": "other", "license_name": m.base_licence}
        found |= known
    if m.base and _HUB_NAME.fullmatch(m.base) and not m.base.startswith("data/"):
        found["base_model"] = m.base
    metrics = [
        {"type": f["name"], "value": f["value"], "name": ": ".join(filter(None, (f["name"], f.get("slice"))))}
        for f in m.metrics
        if f["value"] is not None
    ]
    if metrics:
        dataset = {"name": "held-out side of the run's preference pairs", "type": "preferences"}
        results = [{"task": {"type": task}, "dataset": dataset, "metrics": metrics}]
        found["model-index"] = [{"name": m.name, "results": results}]
    return found
