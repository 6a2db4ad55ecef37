"""How many tokens a model can see, and whether the lengths in params.yaml keep within that."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks import params

FIELDS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")  # names of the field in config.json


def check_context(settings: params.Params, folder: Path) -> None:
    """Raises BadInput for a length in params.yaml that the model in `folder` cannot see."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # who loads the model says what is wrong with the folder
    if isinstance(config, dict):
        settings.check_context(context_of(config))


def context_of(config: Mapping[str, Any]) -> int | None:
    """Tokens that a model of this config.json can see; None: unlimited."""
    return next((int(v) for name in FIELDS if (v := config.get(name))), None)
