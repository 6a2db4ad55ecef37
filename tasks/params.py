"""`params.yaml`: its schema, and its errors as sentences. One class a section; unknown keys are refused.

Here are the sections about data, and the whole; the others are in `training_params`, `evaluation_params` and
`operating_params`.
"""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from governance.errors import BadInput
from tasks import paths, yaml_reader
from tasks.evaluation_params import Hypotheses, Suite
from tasks.operating_params import Approval, Evidence, Incidents, Monitor, Notify, Placement, Triggers
from tasks.param_types import Count, FolderName, Positive, Section, Share
from tasks.splits import SIDES
from tasks.training_params import (
    Direct,
    Lora,
    Oversight,
    PolicyMethod,
    Ppo,
    Principles,
    Process,
    Reward,
    Rounds,
    Sft,
    Stakeholders,
    Training,
)


class Panel(Section):
    """The simulated panel that votes where no votes are given. Marked as simulated wherever it shows."""

    annotators: Count
    votes_per_item: Count
    accuracy: Share
    inverted: Share
    random: Share
    golden_share: Share


class AuditVotes(Section):
    """Votes that are audited and reported beside the pipeline's own, but train nothing."""

    votes: str
    golden: str | None = None


class Ingest(Section):
    """What is read, and how prompts are split."""

    preferences: str
    demonstrations: str | None = None
    votes: str | None = None
    golden: str | None = None
    annotators: str | None = None
    panel: Panel | None = None
    audits: dict[FolderName, AuditVotes] = Field(default_factory=dict)
    shares: dict[str, Share]

    def sources(self) -> list[str]:
        """Every file, folder or hub name that is read."""
        given = [self.preferences, self.demonstrations, self.votes, self.golden, self.annotators]
        given += [source for audit in self.audits.values() for source in (audit.votes, audit.golden)]
        return [source for source in given if source] + [file.as_posix() for file in paths.rounds()]

    @model_validator(mode="after")
    def _complete(self) -> "Ingest":
        if set(self.shares) != set(SIDES):
            raise ValueError(f"shares must name exactly {', '.join(SIDES)}")
        if abs(sum(self.shares.values()) - 1) > 1e-6:
            raise ValueError(f"shares must sum to 1, they sum to {sum(self.shares.values()):g}")
        return self


class Validate(Section):
    """When bad rows stop the run."""

    max_quarantine_share: Share
    max_prompt_tokens: Count
    max_response_tokens: Count


class Annotators(Section):
    """Reliability of annotators and what follows from it."""

    max_false_discovery_rate: Share
    golden_level: Share
    min_votes: Count
    minority_share: Share
    max_doubt: Share
    max_flagged_share: Share


class Poisoning(Section):
    """Search for triggers and floods."""

    max_ngram: Count
    min_rows: Count
    level: Share
    duplicate_similarity: Share
    max_quarantine_share: Share


class Base(Section):
    """Where the base model comes from: a hub name, a local folder, or the shipped model's folder."""

    model: str
    revision: str | None = None
    pad_token: Annotated[str, Field(min_length=1)] | None = None
    trust_remote_code: bool = False


class Evaluate(Section):
    """Comparison of policy, SFT and base on held-out prompts."""

    samples_per_prompt: Count
    max_new_tokens: Count
    temperature: Positive
    bootstrap: Count
    level: Share
    best_of_n: Annotated[int, Field(ge=0)]


class Gate(Section):
    """Thresholds of the release gate, fixed before anything is measured."""

    min_reward_accuracy_low: Share
    min_win_rate_low: Share
    max_kl: Positive
    max_length_ratio: Positive


class Params(Section):
    """The whole file."""

    project: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    seed: Annotated[int, Field(ge=0)]
    num_processes: Count = 1
    sharding: Literal["none", "fsdp2"] = "none"
    ingest: Ingest
    validate_: Validate = Field(alias="validate")
    annotators: Annotators
    poisoning: Poisoning
    base: Base
    lora: Lora
    sft: Sft
    reward: Reward
    stakeholders: Stakeholders
    principles: Principles
    oversight: Oversight
    process: Process
    rounds: Rounds = Rounds()
    method: str
    ppo: Ppo
    dpo: Direct
    ipo: Direct
    kto: Direct
    evaluate: Evaluate
    gate: Gate
    suite: Suite = Suite()
    hypotheses: Hypotheses = Hypotheses()
    evidence: Evidence = Evidence()
    incidents: Incidents = Incidents()
    triggers: Triggers = Triggers()
    approval: Approval = Approval()
    notify: Notify = Notify()
    placement: Placement = Placement()
    monitor: Monitor = Monitor()

    @field_validator("method")
    @classmethod
    def _has_a_section(cls, method: str) -> str:
        kinds = {name: field.annotation for name, field in cls.model_fields.items()}
        known = [name for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, PolicyMethod)]
        if method not in known:
            raise ValueError(f"write one of {', '.join(known)}, not {method}")
        return method

    @model_validator(mode="after")
    def _heads_for_groups(self) -> "Params":
        self.stakeholders.check_heads(self.reward)
        if self.stakeholders.by is not None and self.ingest.annotators is None:
            raise ValueError("stakeholders.by: is a column of the file ingest.annotators, which is null")
        return self

    @model_validator(mode="after")
    def _members_to_compare(self) -> "Params":
        if self.rounds.number > 1 and self.rounds.choose != "random" and self.reward.ensemble.members < 2:
            raise ValueError(
                f"rounds.choose: {self.rounds.choose} is between the members of an ensemble; set reward.ensemble.members to "
                "2 or more, or choose to random"
            )
        return self

    @model_validator(mode="after")
    def _steps_to_reward(self) -> "Params":
        if self.method == "ppo" and self.ppo.step_rewards and not self.process.solutions:
            raise ValueError(
                "ppo.step_rewards: are the process model's, which is trained where process.solutions is above 0; set it, or "
                "step_rewards to 0"
            )
        return self

    @property
    def by_principles(self) -> bool:
        """Whether a run reads the list of principles at all."""
        asked = self.rounds.number > 1 and self.rounds.labels == "principles"
        return asked or self.principles.revisions > 0 or self.principles.pairs > 0

    def check_context(self, context: int | None) -> None:
        """Raises BadInput for the first length, in tokens, that is over the base model's context; None: it has no limit."""
        if context is None:
            return
        answer = max(self.ppo.max_new_tokens, self.evaluate.max_new_tokens)
        lengths = {
            "sft.max_length": self.sft.max_length,
            "reward.max_length": self.reward.max_length,
            "ppo.max_prompt_tokens + max_new_tokens": self.ppo.max_prompt_tokens + answer,
        }
        if isinstance(own := getattr(self, self.method), Training):
            lengths[f"{self.method}.max_length"] = own.max_length
        if self.by_principles:
            lengths["principles.max_tokens"] = self.principles.max_tokens
        if self.oversight.pairs:
            lengths["oversight.max_tokens"] = self.oversight.max_tokens
        if self.process.solutions:
            lengths["process.max_length"] = self.process.max_length
        for name, length in lengths.items():
            if length > context:
                raise BadInput(
                    f"{name}: {length} tokens, and the base model {self.base.model} has a context of {context}; lower it to "
                    f"{context} at most, or name a base.model with a longer context."
                )

    def shares(self, stage: str) -> bool:
        """Whether processes can share a stage; of the direct methods' trainers each would do the whole."""
        return stage in ("sft", "reward") or (stage == "ppo" and self.method == "ppo")

    def processes_of(self, stage: str) -> int:
        """How many processes of a machine a stage is shared by."""
        return self.num_processes if self.shares(stage) else 1

    def section_of(self, stage: str) -> str:
        """Name of the section that decides a stage: its own, and the method's for the policy."""
        return {"validate": "validate_", "ppo": self.method}.get(stage, stage)


REASONS = {
    "extra_forbidden": "is not a known key: remove it or correct its spelling",
    "missing": "is missing: add it as git has it",
    "model_type": "must hold keys with values: restore it from git",
}


def parse(raw: Any, where: str) -> Params:
    """Check a parsed file. Raises BadInput with one sentence that names the first wrong field."""
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        # a misspelt key is missed under its right name, too, and the misspelling is the one to tell of
        first = min(error.errors(), key=lambda e: e["type"] == "missing")
        field = ".".join(str(p) for p in first["loc"]) or "the file"
        more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
        reason = REASONS.get(first["type"], f"is wrong: {first['msg'].removeprefix('Value error, ')}")
        raise BadInput(f"{where}: {field} {reason}{more}.") from None


def load(path: Path) -> Params:
    """Read and check `params.yaml`."""
    try:
        return _checked(yaml_reader.read_text(path), str(path))
    except FileNotFoundError:
        raise BadInput(
            f"{path}: there is no such file; run inside a project folder or name one with --params."
        ) from None


@lru_cache(maxsize=2)  # a run asks a dozen times, at 13 ms each
def _checked(text: str, where: str) -> Params:
    return parse(yaml_reader.parse(text, where), where)
