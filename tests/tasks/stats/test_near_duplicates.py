"""Floods: found whatever their wording differs in, different texts stay apart, honest repetition is allowed for."""

import numpy as np

from tasks.stats.near_duplicates import floods
from tasks.stats.tokens import tokenize

WORDS = [f"word{k}" for k in range(2000)]


def different(n: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, 40, replace=False)) for _ in range(n)]


def test_a_flood_among_different_texts_is_one_group() -> None:
    rng = np.random.default_rng(0)
    core = list(rng.choice(WORDS, 60, replace=False))
    flood = [" ".join([*core[:-1], WORDS[k]]) for k in range(15)]  # one word in sixty differs
    found = floods(tokenize(different(300, 0) + flood), 0.7, 10)
    assert [f.rows.tolist() for f in found] == [list(range(300, 315))]
    assert found[0].p_value < 1e-9
    assert found[0].similarity > 0.9


def test_few_duplicates_are_no_flood() -> None:
    assert floods(tokenize(["the same words here again"] * 9 + different(50, 1)), 0.7, 10) == []


def test_the_row_that_all_resemble_is_named() -> None:
    rng = np.random.default_rng(2)
    core = list(rng.choice(WORDS, 60, replace=False))
    copies = []
    for _ in range(14):
        words = list(core)
        words[int(rng.integers(60))] = "changed"
        copies.append(" ".join(words))
    assert floods(tokenize([*different(100, 3), " ".join(core), *copies]), 0.7, 10)[0].medoid == 100


def test_where_everything_is_repeated_a_large_group_is_no_wonder() -> None:
    repeated = [text for text in different(30, 4) for _ in range(12)]
    assert min(f.p_value for f in floods(tokenize(repeated), 0.7, 10)) > 0.05


def test_one_long_answer_to_different_questions_is_no_copy() -> None:
    rng = np.random.default_rng(5)
    said = " ".join(rng.choice(WORDS, 60, replace=False))
    texts = different(100, 6)
    asked = [" ".join(rng.choice(WORDS, 8)) for _ in range(115)]
    answers = texts + [said] * 15
    whole = tokenize([f"{a} {b}" for a, b in zip(asked, answers, strict=True)])
    assert len(floods(whole, 0.7, 10)) == 1
    assert floods(whole, 0.7, 10, asked=tokenize(asked)) == []
    asked[100:] = [f"{asked[100]} please"] * 15
    whole = tokenize([f"{a} {b}" for a, b in zip(asked, answers, strict=True)])
    assert len(floods(whole, 0.7, 10, asked=tokenize(asked))) == 1
