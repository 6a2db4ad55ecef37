"""What PPO reads of params.yaml; the file says what each means."""

from dataclasses import dataclass
from typing import Literal, Protocol

from tasks.rlhf.device_memory import Tokens
from tasks.rlhf.precision import Bf16


class PpoSettings(Protocol):
    """`ppo` of params.yaml."""

    episodes: int
    batch: int
    minibatch: int
    microbatch_tokens: Tokens
    epochs: int
    learning_rate: float
    value: Literal["separate", "shared"]
    value_coef: float
    kl_coef: float
    kl_estimator: Literal["k1", "k2", "k3"]
    kl_target: float | None
    kl_horizon: int
    kl_budget: float | None
    max_kl: float
    min_entropy: float
    gamma: float
    lam: float
    clip_range: float
    clip_range_value: float
    max_grad_norm: float
    temperature: float
    max_new_tokens: int
    missing_eos_score: float | None
    missing_eos_penalty: float
    step_rewards: float
    whiten_rewards: bool
    bf16: Bf16


@dataclass
class PlainPpo:
    """The algorithm alone, in fp32: a fixed KL coefficient, and nothing that ends a training or changes a score."""

    episodes: int
    batch: int
    minibatch: int
    epochs: int
    learning_rate: float
    kl_coef: float
    max_new_tokens: int
    microbatch_tokens: Tokens = "auto"
    value: Literal["separate", "shared"] = "separate"
    value_coef: float = 0.1
    kl_estimator: Literal["k1", "k2", "k3"] = "k1"
    kl_target: float | None = None
    kl_horizon: int = 1
    kl_budget: float | None = None
    max_kl: float = float("inf")
    min_entropy: float = 0.0
    gamma: float = 1.0
    lam: float = 0.95
    clip_range: float = 0.2
    clip_range_value: float = 0.2
    max_grad_norm: float = 1.0
    temperature: float = 1.0
    missing_eos_score: float | None = None
    missing_eos_penalty: float = 0.0
    step_rewards: float = 0.0
    whiten_rewards: bool = False
    bf16: Bf16 = False
