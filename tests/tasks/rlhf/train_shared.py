"""Short PPO trainings in as many processes as the launcher starts; rank 0 writes weights and losses to files.

usage: torchrun … train_shared.py MODEL_FOLDER OUT      the first word of OUT's name: separate, shared or dies

Of several processes OUT-sharded holds a training with sharded models, too (with adapters, where the value function is on
the policy's trunk), OUT-kept and OUT-record what it kept after its first update, and OUT-again where that leads to.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from accelerate import PartialState
from safetensors.torch import load_file, save_file

from tasks.rlhf.models import with_lora
from tasks.rlhf.ppo import PpoTrainer
from tasks.rlhf.processes import from_first
from tasks.rlhf.sharding import plain, shard
from tests.tasks.rlhf.test_ppo import PROMPTS, trainer

LORA = SimpleNamespace(rank=4, alpha=8, dropout=0.0)
SETTINGS: dict[str, Any] = {"minibatch": 15, "epochs": 1, "episodes": 64, "max_new_tokens": 8}


def results(t: PpoTrainer, history: list[dict[str, float]]) -> dict[str, torch.Tensor]:
    """Weights and metrics by name."""
    t.policy, t.value_model = plain(t.policy), plain(t.value_model)
    weights = {name: p.data.contiguous() for name, p in t._trainable()}
    return weights | {f"metric.{k}.{i}": torch.tensor(v) for i, row in enumerate(history) for k, v in row.items()}


def by_adam(model: Path, value: str, *, sharded: bool) -> PpoTrainer:
    def prepare(m: Any) -> Any:
        m = with_lora(m, LORA, "CAUSAL_LM", 3) if value == "shared" else m
        return shard(m, "sum") if sharded else m

    return trainer(model, value=value, prepare=prepare, **SETTINGS)


def main() -> None:
    model, out = Path(sys.argv[1]), Path(sys.argv[2])
    kind = out.name.split("-")[0]
    state = PartialState(cpu=True)
    if kind == "dies" and state.process_index == 1:
        raise RuntimeError("rank 1 was told to fail")
    assert from_first(lambda: state.process_index) == 0
    value = "shared" if kind == "shared" else "separate"
    t = trainer(model, value=value, **SETTINGS)
    t.optimizer = torch.optim.SGD([p for _, p in t._trainable()], lr=0.05)
    found = results(t, list(t.train(PROMPTS)))
    if state.is_main_process:
        save_file(found | {"processes": torch.tensor(t.shared.count)}, out)
    if state.num_processes > 1:
        once = by_adam(model, value, sharded=True)
        updates = once.train(PROMPTS)
        history = [next(updates)]
        kept, record = once.state()
        if state.is_main_process:
            save_file(kept, f"{out}-kept")
            Path(f"{out}-record").write_text(json.dumps(record), encoding="utf-8")
        held = sum(p.to_local().numel() for p in once.policy.parameters())
        found = results(once, [*history, *updates]) | {"held": torch.tensor(held)}
        if state.is_main_process:
            save_file(found, f"{out}-sharded")
        state.wait_for_everyone()
        again = by_adam(model, value, sharded=True)
        again.restore(load_file(f"{out}-kept"), json.loads(Path(f"{out}-record").read_text(encoding="utf-8")))
        found = results(again, list(again.train(PROMPTS)))
        if state.is_main_process:
            save_file(found, f"{out}-again")
    state.destroy_process_group()


if __name__ == "__main__":
    main()
