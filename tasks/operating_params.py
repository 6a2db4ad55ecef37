"""Sections of `params.yaml` on what happens around the stages: evidence, incidents, what starts runs, who decides, who is
told, where stages run, what is watched after release."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tasks.param_types import Count, Positive, Section
from tasks.paths import STAGES


class Evidence(Section):
    """Where the audit log's signed checkpoints are kept, the PEM file of the key that signs, the YAML file in which a
    person declares what does not apply, and what a busy core of this machine draws (W)."""

    checkpoints: str | None = None
    signing_key: str | None = None
    declarations: str | None = None
    watts_per_core: Positive | None = None


class ReportDays(Section):
    """Days from becoming aware of an incident until its report is due, by severity (AI Act, Article 73)."""

    death: Count = 10
    widespread: Count = 2
    serious: Count = 15


class Incidents(Section):
    """What is due after an incident of a released policy."""

    report_days: ReportDays = ReportDays()


class NewVotes(Section):
    """How many votes more than the last run read, or what share of them, start a run."""

    number: Count = 1000
    share: Positive = 0.1


class Triggers(Section):
    """What starts a run by itself while `attestrl serve` runs, and how often is looked."""

    every_seconds: Positive = 10
    data: bool = True
    votes: NewVotes | None = NewVotes()
    labels: bool = True
    incidents: bool = True
    drift: bool = True
    base: bool = True
    base_branch: str = "main"


class Approval(Section):
    """How long a release that passed its gate waits for a person."""

    remind_hours: Positive | None = 24
    timeout_hours: Positive | None = 336


class Notify(Section):
    """Prefect notification blocks, such as slack-webhook/team, that are told of what needs a person."""

    blocks: list[Annotated[str, Field(pattern=r"^[a-z0-9-]+/[a-z0-9-]+$")]] = Field(default_factory=list)


class Need(Section):
    """What a stage needs, and the Prefect work pool whose workers have it; without a pool it runs where the run does."""

    device: Literal["cpu", "gpu"] = "cpu"
    number: Count = 1
    memory_gb: Positive = 1
    pool: Annotated[str, Field(pattern=r"^[^/%]+$")] | None = None


class Placement(Section):
    """Where stages run. `gpus`: how many there are for all runs together; `repository`: what workers clone, null for
    the remote `origin`; a worker is lost that gave no sign of life for `lost_after_seconds`."""

    stages: dict[str, Need] = Field(default_factory=dict)
    gpus: Count = 1
    lost_after_seconds: Positive = 60
    repository: str | None = None

    @model_validator(mode="after")
    def _possible(self) -> "Placement":
        for name, need in self.stages.items():
            if name not in STAGES:
                raise ValueError(f"stages.{name} is not a stage; the stages are {', '.join(STAGES)}")
            if need.device == "gpu" and need.number > self.gpus:
                raise ValueError(f"stages.{name} needs {need.number} GPUs, and gpus is {self.gpus}")
        return self


class Monitor(Section):
    """`attestrl monitor`: how much of a log is the reference, how many false alarms are permitted over all series
    together, what is assumed of a log that gives no time, and the severity with which an alarm opens an incident by
    itself, null if a person is to."""

    reference: Annotated[int, Field(ge=20)] = 200
    false_alarms_per_year: Positive = 0.5
    responses_per_day: Positive = 1000.0
    incident: Literal["death", "widespread", "serious", "other"] | None = None
