"""`ipo`: (h⁺/|y⁺| − h⁻/|y⁻| − 1/(2β))². Azar et al. (2023), equation 17, by the mean over tokens as TRL has it. h: tasks/rlhf/direct_trainer.py."""

from functools import partial

from tasks.direct import on_pairs
from tasks.rlhf.direct_trainer import pairwise

kind = partial(pairwise, "ipo")
METHOD = on_pairs(kind)
