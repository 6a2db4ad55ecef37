"""What the methods of the policy share. A method is one file of this folder, with a `METHOD`; it is named as the `method` that
chooses it and as its section of params.yaml, whose schema is a `PolicyMethod`. The stage `ppo` does the rest: lineage,
records, curves, registration.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from tasks.checkpoints import Checkpoints
from tasks.stage import Stage

Trained = tuple[Any, list[dict[str, Any]], list[dict[str, Any]]]  # policy, metrics {"step", …} of logged steps, samples


@dataclass(frozen=True)
class Method:
    """`table`: what it learns from; `panels`: the metrics of each curve, by its title; `train`: from SFT, or from the newest
    checkpoint, given the tokenizer; `also`: digests of whatever else it learns from, by their names in the lineage."""

    table: Path
    panels: Mapping[str, list[str]]
    train: Callable[[Stage, Any, Checkpoints], Trained]
    also: Callable[[Stage], dict[str, str]]


def method_of(name: str) -> Method:
    """The method of that name; no other's libraries are loaded: TRL's take seconds, and PPO needs none."""
    found: Method = import_module(f"tasks.methods.{name}").METHOD
    return found
