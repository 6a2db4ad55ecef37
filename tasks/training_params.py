"""Sections of `params.yaml` that decide how SFT, reward model and policy are trained."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from tasks.param_types import Count, CountOrAuto, Endpoint, GroupsOrDistribution, Positive, Section, Share
from tasks.rlhf.precision import Bf16

OTHERS = "others"  # the groups of stakeholders that are too small for a head of their own


class Lora(Section):
    """Low-rank adapters through peft; merged into the saved model."""

    enabled: bool
    rank: Count
    alpha: Count
    dropout: Share


class Training(Section):
    """What SFT and reward training share."""

    epochs: Count
    batch: Count
    learning_rate: Positive
    max_length: Count
    bf16: Bf16
    save_steps: Count
    save_total_limit: Count


class Sft(Training):
    """Supervised fine-tuning on demonstrations."""


class RewardEnsemble(Section):
    """Several reward models as one; `variance_weight` is read by `mean_minus_variance` alone."""

    members: Count
    rule: Literal["mean", "worst", "mean_minus_variance"]
    variance_weight: Annotated[float, Field(ge=0)]


class Rounds(Section):
    """Runs in a row: after each but the last, `pairs` of the policy's answers get labels and join the preferences. They end
    earlier where the reward model is as right on them as on the test side, but for `margin`. `panel`: the accuracy of each
    SIMULATED rater, the share of pairs on which it says what the judge prefers; read where `labels` are simulated."""

    number: Count = 1
    pairs: Count = 64
    candidates: Annotated[int, Field(ge=2)] = 4
    choose: Literal["random", "disagreement", "information"] = "random"
    labels: Literal["people", "principles", "simulated"] = "people"
    panel: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.84,) * 5
    margin: Share = 0.05


class Reward(Training):
    """Reward model and judge, by one recipe. The loss is of rankings; of pairs both are the Bradley–Terry loss."""

    loss: Literal["bradley_terry", "plackett_luce"]
    criteria: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")], Annotated[float, Field(allow_inf_nan=False)]]
    length_debias: bool
    dev_share: Share
    ensemble: RewardEnsemble
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)]

    @model_validator(mode="after")
    def _smooth_pairs(self) -> "Reward":
        if self.label_smoothing and self.loss != "bradley_terry":
            raise ValueError("label_smoothing is of pairs: set it to 0, or loss to bradley_terry")
        return self

    @field_validator("criteria")
    @classmethod
    def _in_order(cls, criteria: dict[str, float]) -> dict[str, float]:
        return dict(sorted(criteria.items()))  # heads are drawn in this order, however the file has it

    @model_validator(mode="after")
    def _some_weight(self) -> "Reward":
        if self.criteria and not any(self.criteria.values()):
            raise ValueError("criteria: all weights are 0, so that every score would be 0; give one another weight")
        return self


class Stakeholders(Section):
    """Whose preferences have a head, and how the heads are weighed; a decision about values, so somebody answers for it."""

    by: str | None
    found: GroupsOrDistribution
    least_people: Count
    pooled: bool
    rule: Literal["utilitarian", "maximin", "nash", "quantile"]
    quantile: Annotated[float, Field(gt=0, lt=1)]
    approved_by: str | None
    reason: str | None

    @property
    def grouped(self) -> bool:
        """Whether groups of people have heads."""
        return self.by is not None or (not self.distribution and self.found != 0)

    @property
    def distribution(self) -> bool:
        """Whether an answer has a distribution of utilities, so that nobody is told apart."""
        return self.found == "distributional"

    def check_heads(self, reward: Reward) -> None:
        """Raises ValueError where the reward model has not the heads that this is about."""
        weights = reward.criteria.values()
        if self.by is not None and not weights:
            raise ValueError("stakeholders.by: name the groups in reward.criteria, each with its weight")
        if self.pooled and (self.by is None or OTHERS not in reward.criteria):
            raise ValueError(
                f"stakeholders.pooled: is of the groups in `by`; name {OTHERS} in reward.criteria, with its weight"
            )
        if isinstance(self.found, str):
            self._check_distribution(reward)
            return
        names = [f"group-{k}" for k in range(1, self.found + 1)]
        if names and sorted(reward.criteria) != sorted(names):
            raise ValueError(
                f"stakeholders.found: name {', '.join(names)} in reward.criteria, each with its weight, and nobody else"
            )
        if self.rule != "utilitarian" and (sum(w > 0 for w in weights) < 2 or any(w < 0 for w in weights)):
            raise ValueError(
                f"stakeholders.rule: {self.rule} is of two heads or more; give reward.criteria two with a "
                "weight above 0, and none below"
            )

    def _check_distribution(self, reward: Reward) -> None:
        if reward.criteria or reward.length_debias or reward.loss != "bradley_terry":
            raise ValueError(
                "stakeholders.found: distributional is of one score of pairs; leave reward.criteria empty, reward.length_debias "
                "false and reward.loss bradley_terry"
            )
        if self.rule not in ("utilitarian", "quantile"):
            raise ValueError(
                f"stakeholders.rule: {self.rule} is of groups; a distribution has its mean, utilitarian, and its quantile"
            )

    @model_validator(mode="after")
    def _answered_for(self) -> "Stakeholders":
        if self.found == 1 or (self.found and self.by is not None):
            raise ValueError(
                "found: is how many groups are found, two or more, or distributional, where `by` is null; 0: none"
            )
        decided = self.grouped or self.distribution or self.rule != "utilitarian"
        if decided and not ((self.approved_by or "").strip() and (self.reason or "").strip()):
            raise ValueError(
                "approved_by and reason: whose preferences count how is a decision; say who took it, and why"
            )
        return self


class ModelPairs(Section):
    """Pairs of SFT's answers of which a model prefers one, and what that model is audited on."""

    pairs: Annotated[int, Field(ge=0)]
    audit: Count
    max_tokens: Count
    max_new_tokens: Count
    temperature: Positive


class Principles(ModelPairs):
    """Constitutional AI: revisions that SFT learns from, and preferences that the reward model learns from, by principles."""

    file: Annotated[str, Field(min_length=1)]
    approved_by: str | None
    revisions: Annotated[int, Field(ge=0)]
    endpoint: Endpoint | None


class Oversight(ModelPairs):
    """Preferences that the reward model learns from, of a judge who reads what a protocol lets be said."""

    protocol: Literal["direct", "consultancy", "debate", "amplification", "recursive_reward"]
    turns: Count
    order: Literal["simultaneous", "in turns"] = "simultaneous"
    quotes: Annotated[int, Field(ge=0)] = 0
    candidates: Annotated[int, Field(ge=2)] = 4
    problems: Annotated[str, Field(min_length=1)]
    deductions: Annotated[str, Field(min_length=1)]
    judge: Endpoint | None
    expert: Endpoint | None


class Process(Training):
    """Process and outcome reward models, from solutions whose steps are labelled."""

    solutions: Annotated[int, Field(ge=0)]
    traces: Annotated[str, Field(min_length=1)]
    problems: Annotated[str, Field(min_length=1)]
    simulated: Annotated[int, Field(ge=0)]
    level: Literal["step", "token"]
    aggregate: Literal["product", "min", "last"]
    dev_share: Annotated[float, Field(gt=0, lt=1)]


class PolicyMethod(Section):
    """Of a `method`: its file in tasks/methods is named as its section."""


class Ppo(PolicyMethod):
    """Proximal policy optimisation against the reward model."""

    episodes: Count
    batch: Count
    minibatch: Count
    microbatch_tokens: CountOrAuto
    epochs: Count
    learning_rate: Positive
    value: Literal["separate", "shared"]
    value_coef: Positive
    kl_coef: Annotated[float, Field(ge=0)]
    kl_estimator: Literal["k1", "k2", "k3"]
    kl_target: Positive | None
    kl_horizon: Count
    kl_budget: Positive | None
    max_kl: Positive
    min_entropy: Annotated[float, Field(ge=0)]
    gamma: Share
    lam: Share
    clip_range: Positive
    clip_range_value: Positive
    max_grad_norm: Positive
    temperature: Positive
    max_prompt_tokens: Count
    max_new_tokens: Count
    missing_eos_score: float | None
    missing_eos_penalty: Annotated[float, Field(ge=0)]
    step_rewards: Annotated[float, Field(ge=0)]
    whiten_rewards: bool
    bf16: Bf16
    save_steps: Count
    save_total_limit: Count


class Direct(Training, PolicyMethod):
    """A policy straight from preference pairs."""

    beta: Positive
    watch_steps: Count
    kl_budget: Positive | None
