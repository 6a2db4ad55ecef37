"""A short PPO training in as many processes as the launcher starts; rank 0 writes weights and losses to a file.

usage: torchrun … train_shared.py MODEL_FOLDER OUT      the first word of OUT's name: separate, shared or dies
"""

import sys
from pathlib import Path

import torch
from accelerate import PartialState
from safetensors.torch import save_file

from tasks.rlhf.processes import from_first
from tests.tasks.rlhf.test_ppo import PROMPTS, trainer


def main() -> None:
    model, out = Path(sys.argv[1]), Path(sys.argv[2])
    kind = out.name.split("-")[0]
    state = PartialState(cpu=True)
    if kind == "dies" and state.process_index == 1:
        raise RuntimeError("rank 1 was told to fail")
    assert from_first(lambda: state.process_index) == 0
    value = "shared" if kind == "shared" else "separate"
    t = trainer(model, value=value, minibatch=15, epochs=1, episodes=64, max_new_tokens=8)
    t.optimizer = torch.optim.SGD([p for _, p in t._trainable()], lr=0.05)
    history = list(t.train(PROMPTS))
    if state.is_main_process:
        weights = {name: p.data.contiguous() for name, p in t._trainable()}
        figures = {f"metric.{k}.{i}": torch.tensor(v) for i, row in enumerate(history) for k, v in row.items()}
        save_file(weights | figures | {"processes": torch.tensor(t.shared.count)}, out)
    state.destroy_process_group()


if __name__ == "__main__":
    main()
