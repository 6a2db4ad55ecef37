"""The model that ships with the repository is what its documented command makes of the texts in `data/raw`."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "data/raw/attestrl-small"
MEGABYTE = 1_000_000


def test_the_weights_are_small_enough_to_ship() -> None:
    assert 0 < (SHIPPED / "model.safetensors").stat().st_size <= 12 * MEGABYTE


@pytest.mark.slow  # half a minute, most of it to measure the one step on the validation texts
def test_its_command_makes_the_same_tokenizer_from_the_same_texts(tmp_path: Path) -> None:
    """One step of the 1,600: the weights take an hour."""
    (command,) = re.findall(r"`(python -m tasks\.pretrain .+?)`", (SHIPPED / "README.md").read_text(encoding="utf-8"))
    words = [sys.executable, *shlex.split(command)[1:]]
    words[words.index("--out") + 1] = str(tmp_path)
    subprocess.run([*words, "--steps", "1"], cwd=ROOT, capture_output=True, check=True)
    names = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "config.json", "generation_config.json"}
    assert {n for n in names if (tmp_path / n).read_bytes() != (SHIPPED / n).read_bytes()} == set()
    made, shipped = (json.loads((f / "pretrain.json").read_text(encoding="utf-8")) for f in (tmp_path, SHIPPED))
    assert made["config"] | {"steps": shipped["config"]["steps"]} == shipped["config"]
    assert (made["parameters"], made["train_tokens"]) == (shipped["parameters"], shipped["train_tokens"])
