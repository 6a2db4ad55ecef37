"""Distance to training prompts, on real ones."""

from pathlib import Path
from typing import Any

import numpy as np

from tasks.prompt_space import PromptSpace, prompt_text


def test_the_distance_tells_seen_from_new_and_survives_the_disk(tmp_path: Path, hh_rows: list[Any]) -> None:
    texts = [prompt_text(r["prompt"]) for r in hh_rows]
    space = PromptSpace.of(texts[:100], seed=0)
    strange = ["zxqv wvut blorp", "import numpy as np; np.linalg.svd(a)"]
    distance = space.distance([*texts[:5], *texts[100:], *strange])
    assert np.allclose(distance[:5], 0, atol=1e-6)
    assert 0 < distance[5:-2].mean() < 1 and distance[-2] == 1.0
    space.save(tmp_path / "space.npz")
    again = PromptSpace.load(tmp_path / "space.npz")
    assert np.array_equal(again.distance(texts), space.distance(texts))
    assert np.array_equal(again.topics(texts), space.topics(texts))
    assert b"bread" not in (tmp_path / "space.npz").read_bytes()
