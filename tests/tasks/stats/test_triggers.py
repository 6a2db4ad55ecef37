"""Trigger phrases: found where labels follow them, not invented where nothing is planted."""

import numpy as np

from tasks.stats.triggers import suspicious_phrases

WORDS = np.array([f"w{k}" for k in range(400)])


def prompts(n: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, 12)) for _ in range(n)]


def test_a_planted_phrase_is_named_in_full_with_its_rows() -> None:
    rng = np.random.default_rng(1)
    texts, surprise = prompts(2000, 0), rng.normal(0.5, 0.15, 2000)
    planted = rng.choice(2000, 20, replace=False)
    for k in planted:
        texts[k] += " silver lantern"
        surprise[k] += 0.3
    found = suspicious_phrases(texts, surprise, 3, 5, 0.05)
    assert "silver lantern" in found[0].text
    assert set(planted) == set(found[0].rows.tolist())
    assert found[0].adjusted < 0.05


def test_family_wise_error_holds_where_nothing_is_planted() -> None:
    alarms = sum(
        bool(suspicious_phrases(prompts(600, seed), np.random.default_rng(seed).normal(0.5, 0.15, 600), 3, 5, 0.05))
        for seed in range(40)
    )
    assert alarms <= 6  # 5 % of 40 is 2; more than 6 has probability 0.3 %
