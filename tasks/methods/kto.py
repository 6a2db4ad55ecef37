"""`kto`: 1 − σ(β (h⁺ − z)) and 1 − σ(β (z − h⁻)), each answer for itself; z is the KL of the batch, from answers to other
prompts. Ethayarajh et al. (2024), equation 8. h: tasks/rlhf/direct_trainer.py.
"""

import random
from typing import Any

from tasks.direct import on_pairs
from tasks.rlhf.direct_trainer import Kind, Pair


def kind() -> Kind:
    """TRL's KTOTrainer; z belongs to the order of the rows, which is random already."""
    from trl import KTOConfig, KTOTrainer
    from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

    order = {"train_sampling_strategy": "sequential"}
    return Kind(KTOTrainer, KTOConfig, DataCollatorForUnpairedPreference, order, answers)


def answers(pairs: list[Pair], batch: int, seed: int) -> list[dict[str, Any]]:
    """Answers in the order in which they are trained on; in each batch the answers, turned round by one, are those of z."""
    rows = [
        {"prompt_ids": p.prompt_ids, "completion_ids": ids, "label": label, "weight": p.weight}
        for p in pairs
        for ids, label in ((p.chosen_ids, True), (p.rejected_ids, False))
    ]
    random.Random(seed).shuffle(rows)
    for at in range(0, len(rows), batch):
        part = rows[at : at + batch]
        for row, other in zip(part, [part[-1], *part[:-1]], strict=True):
            row["KL_completion_ids"] = other["completion_ids"]
    return rows


METHOD = on_pairs(kind)
