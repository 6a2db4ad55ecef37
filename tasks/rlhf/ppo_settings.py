"""What PPO reads of params.yaml; the file says what each means."""

from typing import Literal, Protocol


class PpoSettings(Protocol):
    """`ppo` of params.yaml."""

    episodes: int
    batch: int
    minibatch: int
    microbatch_tokens: int
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
    whiten_rewards: bool
    bf16: bool
