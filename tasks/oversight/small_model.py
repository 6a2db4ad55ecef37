"""A tiny character-level transformer that reads a written tree (tasks/oversight/trees.py) and says what it comes to: its size and
the depth of what it was taught are what limits a judge or a helper. Trained from nothing in seconds on one core.

P(value | text) is the softmax over the kind's values, read from a linear layer at the text's last character. Attention is causal, so
that rows of other lengths in a batch change nothing but rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
import torch

from tasks.oversight.trees import Kind, grown


@dataclass(frozen=True)
class Size:
    """Width of the stream, and blocks."""

    hidden: int
    layers: int
    heads: int = 2


SIZES = {"small": Size(4, 1), "medium": Size(8, 1), "large": Size(32, 2)}


def examples(kind: Kind, depths: Sequence[int], n: int, rng: np.random.Generator) -> list[tuple[str, int]]:
    """`n` trees of each of these depths, written, with their values."""
    trees = [grown(kind, depth, rng) for depth in depths for _ in range(n)]
    return [(tree.text, tree.value) for tree in trees]


class SmallModel:
    """The same seed, kind, size and pairs give the same weights on the same machine. Weights are fp32, on the CPU."""

    def __init__(self, kind: Kind, size: Size, seed: int) -> None:
        from transformers import Qwen2Config, Qwen2Model

        self.kind, self.size, self.seed = kind, size, seed
        config = Qwen2Config(
            vocab_size=len(self.codes) + 1,
            hidden_size=size.hidden,
            intermediate_size=2 * size.hidden,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            num_key_value_heads=size.heads,
            max_position_embeddings=1024,
            pad_token_id=len(self.codes),
            attn_implementation="sdpa",
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.trunk = Qwen2Model(config)
            self.head = torch.nn.Linear(size.hidden, kind.values)

    @cached_property
    def codes(self) -> dict[str, int]:
        """What number a character has."""
        return {c: k for k, c in enumerate(["(", ")", *self.kind.operations, *map(str, range(self.kind.values))])}

    def parameters(self) -> list[torch.nn.Parameter]:
        """Of trunk and head."""
        return [*self.trunk.parameters(), *self.head.parameters()]

    def learn(
        self,
        pairs: Sequence[tuple[str, int]],
        steps: int,
        *,
        batch: int = 256,
        learning_rate: float = 3e-3,
        seed: int = 0,
        rejected: Sequence[int] | None = None,
    ) -> float:
        """Train on, in place, for `steps` steps on batches drawn from (text, value) pairs of any depth; AdamW, its learning rate
        warmed up over a tenth and then falling to zero. With `rejected`, the values to which those of the pairs were preferred, by
        Bradley and Terry's loss; otherwise by cross-entropy. Returns the mean loss of the last tenth, nats a text."""
        draw = np.random.default_rng([self.seed, seed])
        rows, values = [self._encoded(text) for text, _ in pairs], torch.tensor([value for _, value in pairs])
        others = None if rejected is None else torch.tensor(rejected)
        lengths = np.array([len(row) for row in rows])
        alike = {n: np.flatnonzero(lengths == n) for n in np.unique(lengths)}
        optimizer = torch.optim.AdamW(self.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
        warmup, losses = max(1, steps // 10), []
        for step in range(steps):
            factor = min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * factor
            chosen = draw.choice(alike[lengths[draw.integers(len(pairs))]], size=batch)
            logits, here = self._logits([rows[k] for k in chosen]), torch.from_numpy(chosen)
            if others is not None:  # the two values alone, of which the first is the right class
                logits = logits.gather(1, torch.stack([values[here], others[here]], dim=1))
            target = values[here] if others is None else torch.zeros_like(here)
            loss = torch.nn.functional.cross_entropy(logits, target)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
        return float(np.mean(losses[-max(1, steps // 10) :]))

    @torch.no_grad()
    def log_probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """(n, values) float64: log P(value | text), nats. Every text is read once, with others of its length."""
        different = sorted(set(texts), key=lambda text: (len(text), text))
        found: dict[str, np.ndarray] = {}
        for _, same in groupby(different, key=len):
            group = list(same)
            for at in range(0, len(group), 512):
                some = group[at : at + 512]
                logits = self._logits([self._encoded(text) for text in some]).double()
                found |= zip(some, torch.log_softmax(logits, dim=-1).numpy(), strict=True)
        return np.array([found[text] for text in texts]).reshape(len(texts), self.kind.values)

    def copy(self) -> SmallModel:
        """A model of its own, with the same weights, that can be trained on."""
        return copy.deepcopy(self)

    def _encoded(self, text: str) -> list[int]:
        return [self.codes[c] for c in text]

    def _logits(self, rows: Sequence[list[int]]) -> torch.Tensor:
        longest, pad = max(map(len, rows)), len(self.codes)
        ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows])
        hidden = self.trunk(input_ids=ids, use_cache=False).last_hidden_state
        ends = torch.tensor([len(row) - 1 for row in rows])
        return self.head(hidden[torch.arange(len(rows)), ends])
