"""Checkpoints of a training that is not finished: `checkpoint-<step>/`, whole or absent, never unpickled.

A checkpoint is a folder of two files: `tensors.safetensors`, and `state.json` with everything that is no tensor, the
SHA-256 of the tensors, and the identity of the training: the digest of all that decides its result. Checkpoints live in
the project's state folder, because DVC removes a stage's outputs before it runs the stage again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from governance.digest import canonical_json, sha256_bytes, sha256_path, write_json
from governance.errors import MissingComponent
from tasks import paths
from tasks.stage import Stage

if TYPE_CHECKING:
    import torch

TENSORS, STATE = "tensors.safetensors", "state.json"
CODE = (
    "methods/*.py",
    "rlhf/*.py",
    "direct.py",
    "ppo.py",
    "process_rewards.py",
    "rankings.py",
    "reward.py",
    "sft.py",
    "splits.py",
    "trainings.py",
)  # all that decides a training's result, under tasks/
LIBRARIES = ("accelerate", "peft", "torch", "transformers", "trl")
TRAININGS = 2  # of a stage that stay: the one that runs, and the last one that ran with other inputs or parameters


@dataclass(frozen=True)
class Checkpoint:
    """What a training goes on from: its step, its tensors by name, and the rest of its state as JSON values."""

    step: int
    tensors: dict[str, torch.Tensor]
    state: dict[str, Any]


class Checkpoints:
    """The checkpoints of one training; the newest `keep` stay on the disk."""

    def __init__(self, stage: str, decides: Mapping[str, Any], keep: int, reads_only: bool = False) -> None:
        """`decides`: inputs (by digest) and parameters that decide the result, as JSON values. One of several processes
        keeps checkpoints, the others read only.

        The code of the trainers and the versions of the libraries are part of the identity, too: a training that
        another version began is begun again, since its end would be that of neither.
        """
        self.identity = sha256_bytes(canonical_json({"stage": stage, "code": _code(), **decides}))
        self.folder = paths.home() / "checkpoints" / stage / self.identity
        self.stage, self.keep, self.reads_only = stage, keep, reads_only
        self.refused: list[str] = []

    def save(self, step: int, tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]) -> None:
        """Write `checkpoint-<step>` under a temporary name, fsync, rename; then remove the oldest beyond `keep`."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        if self.reads_only:
            return
        partial = self.folder / f".checkpoint-{step}.partial"
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            save_file({k: v.detach().contiguous().cpu() for k, v in tensors.items()}, partial / TENSORS)
            _sync(partial / TENSORS)
            digest = sha256_path(partial / TENSORS)
            write_json(
                partial / STATE, {"step": step, "identity": self.identity, "sha256": digest, "state": dict(state)}
            )
            _sync(partial)
            final = self.folder / f"checkpoint-{step}"
            shutil.rmtree(final, ignore_errors=True)  # a refused one of the same step
            partial.rename(final)
            _sync(self.folder)
        except (OSError, SafetensorError) as error:  # which may have taken the last space: what is cut goes at once
            shutil.rmtree(partial, ignore_errors=True)
            why = getattr(error, "strerror", None) or error
            raise MissingComponent(
                f"{self.folder}: the checkpoint of step {step} cannot be written ({why}); free "
                "some space or make the folder writable, then run again."
            ) from None
        for _, old in list(self._newest_first())[self.keep :]:
            shutil.rmtree(old)

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole and of this training; `refused` and standard error say in a sentence why
        others are not taken. Checkpoints of older trainings, which nobody came back to, are removed."""
        if not self.reads_only:
            self._prune()
            for stale in self.folder.glob(".checkpoint-*.partial"):
                shutil.rmtree(stale)
        for step, folder in self._newest_first():
            try:
                return self._read(step, folder)
            except ValueError as error:
                self.refused.append(f"{folder}: {error}; the checkpoint before it is taken, or a new start made.")
                print(f"{self.stage}: {self.refused[-1]}", file=sys.stderr)
        return None

    def remove(self) -> None:
        """Remove all of this training's checkpoints: it has finished."""
        if not self.reads_only:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _prune(self) -> None:
        """Of the stage's trainings leave this one and the newest others."""
        others = [p for p in self.folder.parent.glob("*") if p.is_dir() and p != self.folder]
        for old in sorted(others, key=lambda p: p.stat().st_mtime_ns, reverse=True)[TRAININGS - 1 :]:
            shutil.rmtree(old, ignore_errors=True)

    def _newest_first(self) -> Iterator[tuple[int, Path]]:
        named = ((re.fullmatch(r"checkpoint-(\d+)", p.name), p) for p in self.folder.glob("checkpoint-*"))
        yield from sorted(((int(m[1]), p) for m, p in named if m), reverse=True)

    def _read(self, step: int, folder: Path) -> Checkpoint:
        """The checkpoint in `folder`. Raises ValueError with the reason not to take it."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            record = json.loads((folder / STATE).read_text(encoding="utf-8"))
            whole = record["sha256"] == sha256_path(folder / TENSORS)
            if record["identity"] != self.identity or record["step"] != step:
                raise ValueError("is a checkpoint of another training (other inputs, parameters or code)")
            if not whole:
                raise ValueError("its tensors are truncated or changed (SHA-256 differs)")
            return Checkpoint(step, load_file(folder / TENSORS), record["state"])
        except (OSError, json.JSONDecodeError, KeyError, TypeError, SafetensorError):
            raise ValueError("is truncated or no checkpoint") from None


def checkpoints_of(
    stage: Stage, inputs: Mapping[str, str], training: str | None = None, section: str | None = None
) -> Checkpoints:
    """Checkpoints of the training that `inputs` (by digest) and a section of the parameters decide, the stage's own if none
    is named; a stage that trains several models names each."""
    section = section or stage.params.section_of(stage.name)
    settings = getattr(stage.params, section)
    decides = settings.model_dump(exclude={"save_steps", "save_total_limit"})
    every = {"inputs": dict(inputs), section: decides, "lora": stage.params.lora.model_dump(), "seed": stage.seed}
    return Checkpoints(training or stage.name, every, settings.save_total_limit, stage.follows)


def _code() -> dict[str, str]:
    """Digests of the trainers' code, and the versions of the libraries under it."""
    here = Path(__file__).parent
    files = {p.relative_to(here).as_posix(): sha256_path(p) for pattern in CODE for p in sorted(here.glob(pattern))}
    return files | {name: version(name) for name in LIBRARIES}


def _sync(path: Path) -> None:
    """Have the system write a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
