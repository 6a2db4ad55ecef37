"""What a reward model says of each conversation by itself, read the ordinary way, to compare with what the project finds."""

from collections.abc import Sequence
from typing import Any

import torch

from tasks.rlhf.length_effect import less_length
from tasks.rlhf.welfare import combined


def scored_alone(
    model: Any, rows: Sequence[list[int]], lengths: Sequence[float] | None = None, gradients: bool = False
) -> torch.Tensor:
    """Scores (N,) in fp32 of token ids, less the offset and the length effect; (N, C) of C heads apart. `lengths` (N,): tokens of
    each response, which a model with a length effect asks for; `gradients`: whether they lead back to the weights."""
    model.eval()
    with torch.set_grad_enabled(gradients):
        last = torch.stack([model.base_model(torch.tensor([row])).last_hidden_state[0, -1] for row in rows])
        scores = model.score(last).squeeze(-1) - torch.tensor(getattr(model.config, "reward_offset", 0.0))
        return combined(less_length(scores, model.config, lengths), model.config)
