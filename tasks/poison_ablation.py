"""What a reward model learns from the rows of a finding: trained with them and without, on prompts with and without
the trigger.

The model is linear: ridge regression on what the answers differ in (`tasks.stats.differences`), and on the same once
more where a prompt has the trigger, so that it can hold a second opinion for such prompts. It is fitted on TRAINED of
the rows without findings, with the rows of the finding or without, and asked about the others as they are and as if
their prompts had the trigger. It measures what the data teach, not what a particular network would remember of it.
"""

from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, diags, hstack

from tasks.params import Poisoning
from tasks.stats.audit_model import PRIORS, iterates
from tasks.stats.differences import difference_matrix, kind_of
from tasks.stats.intervals import wilson
from tasks.suspicions import Texts

TRAINED = 0.8
SECOND = 4.0  # prior scale of the opinion for prompts with the trigger: networks take to a trigger readily
MOST = 10  # findings that are ablated, the surest first
KINDS = (
    "trigger", "topic_turned_round", "character_trigger", "style_trigger", "syntax_trigger",
    "labels_turned_by_origin", "cross_stage_trigger",
)  # fmt: skip


class LinearReward:
    """Differences of all pairs, and which rows are asked about rather than trained on."""

    def __init__(self, texts: Texts, suspected: np.ndarray, settings: Poisoning, seed: int) -> None:
        self.x, buckets = difference_matrix(texts.tokens["chosen"], texts.tokens["rejected"], settings.min_rows)
        scale = np.array(PRIORS[-1], dtype=np.float32)[kind_of(buckets)]
        self.scale = np.concatenate([scale, SECOND * scale])
        self.asked = (np.random.default_rng(seed).random(texts.height) > TRAINED) & ~suspected

    def attack_success(self, triggered: np.ndarray, without: np.ndarray) -> dict[str, Any]:
        """Of a model trained with all rows, and of one trained without the rows `without` ((n,) bool), where
        `triggered` ((n,) bool) rows have the trigger: how often the trigger turns the verdict on rows that neither
        trained on, and how often the verdict without a trigger is the label."""
        doubled = hstack([self.x, diags(triggered.astype(np.float32)) @ self.x]).tocsr().astype(np.float32)
        training = np.stack([~self.asked, ~self.asked & ~without], axis=1).astype(np.float32)
        weights = [w for _, w in iterates(doubled, self.scale[:, None], training)][-1]
        d = self.x.shape[1]
        held_out: csr_matrix = self.x[np.flatnonzero(self.asked)]
        plain, shifted = held_out @ weights[:d], held_out @ (weights[:d] + weights[d:])
        n = int(self.asked.sum())
        out: dict[str, Any] = {"n": n}
        for k, name in enumerate(("with", "without")):
            turned, right = int((plain[:, k] * shifted[:, k] < 0).sum()), int((plain[:, k] > 0).sum())
            out[f"attack_success_{name}"] = [turned / n, *wilson(turned, n)]
            out[f"clean_accuracy_{name}"] = [right / n, *wilson(right, n)]
        return out


def ablation(texts: Texts, findings: list[dict[str, Any]], settings: Poisoning, seed: int) -> list[dict[str, Any]]:
    """The findings, those on labels with a field `ablation`: [value, low, high] of each rate (95 %, Wilson)."""
    ids = texts.columns["id"]
    suspected = ids.is_in([i for f in findings for i in f["row_ids"]]).to_numpy()
    wanted = [k for k, f in enumerate(findings) if f["kind"] in KINDS][:MOST]
    if not wanted or suspected.all():
        return findings
    model = LinearReward(texts, suspected, settings, seed)
    out = list(findings)
    for k in wanted:
        rows = ids.is_in(findings[k]["row_ids"]).to_numpy()
        out[k] = findings[k] | {"ablation": model.attack_success(rows, rows)}
    return out
