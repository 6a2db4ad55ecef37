"""Continuations read as branches of one context, against each (context, continuation) read alone."""

from pathlib import Path

import pytest
import torch

from tasks.rlhf.branches import continuation_logprobs
from tasks.rlhf.models import load_causal_lm

ITEMS = [
    ([5, 9, 11, 40], [[7], [8], [9, 10, 12]]),
    ([3], [[20, 21], [22, 23, 24, 25], [20, 26]]),
    ([60, 61, 62, 63, 64, 65, 66], [[1, 2]]),
]


@pytest.mark.parametrize("budget", [1, 2048])
def test_the_same_as_each_continuation_alone(tiny_model_folder: Path, budget: int) -> None:
    model = load_causal_lm(tiny_model_folder).eval()
    found = continuation_logprobs(model, ITEMS, budget=budget)
    for (context, continuations), sums in zip(ITEMS, found, strict=True):
        for continuation, value in zip(continuations, sums, strict=True):
            with torch.no_grad():
                logits = model(torch.tensor([[*context, *continuation]])).logits[0].log_softmax(-1)
            alone = sum(float(logits[len(context) - 1 + i, t]) for i, t in enumerate(continuation))
            assert value == pytest.approx(alone, abs=1e-4)
