"""`dpo`: −log σ(β (h⁺ − h⁻)). Rafailov et al. (2023), equation 7. h: tasks/rlhf/direct_trainer.py."""

from functools import partial

from tasks.direct import on_pairs
from tasks.rlhf.direct_trainer import pairwise

kind = partial(pairwise, "sigmoid")
METHOD = on_pairs(kind)
