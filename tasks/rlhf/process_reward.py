"""Process and outcome reward models: which steps of a solution are right, and whether its answer is.

A language model's trunk with a head of two labels, read at the tokens t_1, …, t_K that end the steps:

    p_k = softmax(W h(t_k))_right,      loss = −mean over read tokens of log softmax(W h)_label.

Process: the labels of the steps up to and including the first wrong one; what comes after a mistake is neither right nor wrong
(Lightman et al. 2023, "Let's Verify Step by Step"; Uesato et al. 2022). Outcome: the label of the answer, at the last end alone.
At the level `token` the label stands at every token of the step (of the whole solution for the outcome), as in the verifiers of
Cobbe et al. (2021), which read more signal from few solutions; at the level `step` at the ends alone. Either is read at the ends.

One score of a solution: the product of its p_k, which is the probability that all steps are right if they err independently,
their minimum, or the last (Lightman et al., appendix F; Uesato et al.). The first wrong step: the first with p_k below a
threshold, which is chosen on solutions that nothing was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from tasks.rlhf.encoding import Messages, encode_prompts
from tasks.rlhf.models import classifier, draw_head, pad_right, refuse_lacking
from tasks.rlhf.packed_head import IGNORED
from tasks.rlhf.precision import Bf16, autocast

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tasks.rlhf.rollout import Head

WRONG, RIGHT = 0, 1
LABELS = {WRONG: "wrong", RIGHT: "right"}
HEADS = ("score", "classifier")  # what transformers calls the layer of labels
NEWLINE = "\n"  # ends a step
Level = Literal["step", "token"]
Rule = Literal["product", "min", "last"]


@dataclass(frozen=True)
class Encoded:
    """A solution as token ids after its problem's; the response begins at `start`, and its steps end at `ends`."""

    ids: list[int]
    start: int
    ends: list[int]


def encode_solutions(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Messages], solutions: Sequence[Sequence[str]], stop_id: int
) -> list[Encoded]:
    """Solutions as answers of the chat template: a line a step, the last one ended by the stop token. Nothing is cut."""
    before = encode_prompts(tokenizer, prompts, max_tokens=10**9)
    lines = [
        " ".join(step.split()) + (NEWLINE if k + 1 < len(steps) else "")
        for steps in solutions
        for k, step in enumerate(steps)
    ]
    tokens = iter(tokenizer(lines, add_special_tokens=False)["input_ids"] if lines else [])
    rows = []
    for prompt, steps in zip(before, solutions, strict=True):
        ids, ends = list(prompt), []
        for k in range(len(steps)):
            ids += next(tokens) + ([stop_id] if k + 1 == len(steps) else [])
            ends.append(len(ids) - 1)
        rows.append(Encoded(ids, len(prompt), ends))
    return rows


def process_targets(row: Encoded, labels: Sequence[bool], level: Level) -> list[int]:
    """Label of every token, IGNORED where none is read: nothing after the first wrong step is."""
    targets, begin = [IGNORED] * len(row.ids), row.start
    for end, right in zip(row.ends, labels, strict=True):
        for at in range(begin if level == "token" else end, end + 1):
            targets[at] = RIGHT if right else WRONG
        if not right:
            break
        begin = end + 1
    return targets


def outcome_targets(row: Encoded, right: bool, level: Level) -> list[int]:
    """Label of every token, IGNORED where none is read: the answer's, at the end or all over the solution."""
    return process_targets(Encoded(row.ids, row.start, row.ends[-1:]), [right], level)


def new_process_model(
    folder: Path, pad_token_id: int, seed: int, *, trust_remote_code: bool = False
) -> PreTrainedModel:
    """Two labels on the trunk of a causal LM; the head's weights ~ N(0, 1/(d+1)), its bias 0."""
    model, lacking = classifier(folder, trust_remote_code, len(LABELS), "AutoModelForTokenClassification")
    refuse_lacking({n for n in lacking if n.rpartition(".")[0] not in HEADS})
    model.config.pad_token_id = pad_token_id
    model.config.id2label, model.config.label2id = LABELS, {name: k for k, name in LABELS.items()}
    draw_head(_head(model), seed)
    return model


def load_process_model(folder: Path, *, trust_remote_code: bool = False) -> PreTrainedModel:
    """A process or outcome model that `save_model` wrote. Raises ValueError if the file lacks weights."""
    model, lacking = classifier(folder, trust_remote_code, len(LABELS), "AutoModelForTokenClassification")
    refuse_lacking(lacking)
    return model


def right_head(model: Any) -> Head:
    """Probabilities (n,) in fp32 of "right", of hidden states (n, d)."""
    layer = _head(model)

    def head(hidden: torch.Tensor) -> torch.Tensor:
        with torch.autocast(hidden.device.type, enabled=False):
            probabilities: torch.Tensor = layer(hidden.float()).softmax(-1)[:, RIGHT]
        return probabilities

    return head


@torch.no_grad()
def step_probabilities(
    model: PreTrainedModel, rows: Sequence[Encoded], pad_token_id: int, *, bf16: Bf16 = False, batch: int = 16
) -> list[np.ndarray]:
    """p_k (K,) of each solution's steps, in batches of similar length."""
    device, head = next(model.parameters()).device, right_head(model)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
    found: list[np.ndarray] = [np.zeros(0)] * len(rows)
    model.eval()
    for at in range(0, len(order), batch):
        chunk = order[at : at + batch]
        ids, mask = (t.to(device) for t in pad_right([rows[i].ids for i in chunk], pad_token_id))
        with autocast(bf16, device):
            hidden = model.base_model(ids, attention_mask=mask).last_hidden_state
        for k, i in enumerate(chunk):
            found[i] = head(hidden[k, rows[i].ends]).double().cpu().numpy()
    return found


def aggregate(probabilities: np.ndarray, rule: Rule) -> float:
    """One score of the steps' probabilities (K,)."""
    if rule == "last":
        return float(probabilities[-1])
    return float(probabilities.prod() if rule == "product" else probabilities.min())


def first_error(probabilities: np.ndarray, threshold: float) -> int | None:
    """Index of the first step that is less probable to be right than `threshold`; None: no step is."""
    below = np.flatnonzero(probabilities < threshold)
    return int(below[0]) if len(below) else None


def best_threshold(probabilities: Sequence[np.ndarray], truth: Sequence[int | None]) -> float:
    """The threshold that finds most first errors; of equally good ones the one in the middle of the longest run of them, .5
    where there is nothing to choose by."""
    seen = np.unique(np.concatenate([*probabilities, np.zeros(0)]))
    if not len(seen):
        return 0.5
    edges = np.concatenate([[0.0], (seen[1:] + seen[:-1]) / 2, [1.0]])
    if len(edges) > MOST_THRESHOLDS:
        edges = np.quantile(edges, np.linspace(0, 1, MOST_THRESHOLDS))
    hits = [sum(first_error(p, t) == at for p, at in zip(probabilities, truth, strict=True)) for t in edges]
    best = np.flatnonzero(np.array(hits) == max(hits))
    runs = np.split(best, np.flatnonzero(np.diff(best) > 1) + 1)
    longest = max(runs, key=len)
    return float(edges[longest[len(longest) // 2]])


MOST_THRESHOLDS = 200  # that are tried


def _head(model: Any) -> Any:
    return next(getattr(model, name) for name in HEADS if hasattr(model, name))
