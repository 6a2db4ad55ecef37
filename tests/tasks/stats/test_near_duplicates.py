"""MinHash groups: floods are found whatever their wording differs in, different texts stay apart."""

import numpy as np

from tasks.stats.near_duplicates import groups

WORDS = [f"word{k}" for k in range(2000)]


def test_a_flood_among_different_texts_is_one_group() -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, 40, replace=False)) for _ in range(300)]
    core = list(rng.choice(WORDS, 40, replace=False))
    flood = [" ".join([*core[:-1], WORDS[k]]) for k in range(15)]  # one word in forty differs
    found = groups(texts + flood, 0.8, 10, seed=1)
    assert [g.tolist() for g in found] == [list(range(300, 315))]


def test_few_duplicates_are_no_flood() -> None:
    assert groups(["the same words again"] * 9 + ["something else entirely"], 0.8, 10, seed=1) == []


def test_order_and_case_of_words_do_not_matter() -> None:
    assert len(groups(["A b c d e f", "F e d c b a"] * 5, 0.8, 10, seed=1)[0]) == 10
