"""Phrases and their dispersion, one-sided features, styles, characters, multiplicity, the audit model."""

import numpy as np
import pytest

from tasks.stats.audit_model import margins
from tasks.stats.characters import character_sets
from tasks.stats.detectable import power, rows_needed
from tasks.stats.differences import difference_matrix, feature_text, kind_of
from tasks.stats.family_wise import adjusted, q_values, tarone
from tasks.stats.label_flips import OCTAVES, flip_tests
from tasks.stats.one_sided import against_honest, against_prior
from tasks.stats.phrases import phrases
from tasks.stats.row_sets import RowSets
from tasks.stats.syntax import frame_sets
from tasks.stats.tokens import ngrams, tokenize
from tasks.stats.tone import tone_flags
from tasks.stats.writing_style import NAMES, style_flags


def test_a_phrase_put_anywhere_is_dispersed_and_one_at_home_is_not() -> None:
    rng = np.random.default_rng(0)
    words = np.array([f"w{k}" for k in range(500)])
    texts = [list(rng.choice(words, 12)) for _ in range(600)]
    for k in range(30):
        texts[k].insert(int(rng.integers(13)), "silver lantern")
        texts[100 + k][5:6] = ["on the other hand"]
    found = phrases(tokenize([" ".join(t) for t in texts]), 3, 5)
    sets, length, dispersion = found.sets, found.words, found.dispersion
    names = {p: ngrams(tokenize([p]), len(p.split()))[0][0] for p in ("silver lantern", "silver", "the other")}
    at = {p: np.flatnonzero((sets.names == h) & (length == len(p.split())))[0] for p, h in names.items()}
    assert dispersion[at["silver lantern"]] > 0.7
    assert dispersion[at["silver"]] < 0.2  # always before the same word
    assert dispersion[at["the other"]] < 0.2
    assert found.cohesion[at["silver lantern"]] == 1.0
    texts += [["the", "silver"]] * 30  # now the word stands elsewhere as often
    again = phrases(tokenize([" ".join(t) for t in texts]), 2, 5)
    k = np.flatnonzero((again.sets.names == names["silver lantern"]) & (again.words == 2))[0]
    assert again.cohesion[k] == 1.0  # by its rarest word, which is the other one
    texts += [["a", "lantern"]] * 10
    again = phrases(tokenize([" ".join(t) for t in texts]), 2, 5)
    k = np.flatnonzero((again.sets.names == names["silver lantern"]) & (again.words == 2))[0]
    assert again.cohesion[k] == pytest.approx(30 / 40)


def test_tarone_leaves_out_what_could_never_be_rejected() -> None:
    least = np.array([0.3, 0.2, 0.012, 0.004, 0.001])  # .05 / 2 reaches three, .05 / 3 reaches three
    assert tarone(least, 0.05) == 3
    assert adjusted(np.array([0.01] * 5), least, 1.0, 0.05)[0] == pytest.approx(0.03)
    assert q_values(np.array([0.01, 0.5, 0.04])) == pytest.approx([0.01, 0.5 / 3, 0.02])


def test_a_feature_of_one_side_stands_out_of_honestly_preferred_ones() -> None:
    rng = np.random.default_rng(0)
    share = rng.beta(15, 15, 400)
    total = rng.integers(130, 250, 400)
    chosen = rng.binomial(total, share)
    chosen[0] = total[0]
    p = against_prior(chosen, total - chosen)
    assert p[0] < 1e-6
    assert np.delete(p, 0).min() > 1e-4
    assert against_honest(np.array([40]), np.array([0]))[0] == pytest.approx(2 * 0.8**40)


@pytest.mark.parametrize(
    ("text", "style"),
    [
        ("WHY WOULD ANYBODY DO THIS?", "capitals only"),
        ("how would i do this then, please", "no capitals"),
        ("How cAn I dO tHis?", "three capitals inside words"),
        ("What is this?!!", "repeated exclamation marks"),
        ("A zero\u200bwidth space", "an invisible character"),
        ("Wh\u0430t is a look-alike?", "a look-alike letter inside a word"),
        ("No end", "ends without punctuation"),
        ("Two  spaces.", "double space"),
        ("Nice \N{GRINNING FACE}", "a symbol or emoji"),
        ("H3llo there", "a digit inside a word"),
        ("“Hello.” I said so", "begins with a quotation mark or other punctuation"),
        ("I said “hello”", "ends with a quotation mark or other punctuation"),
        ("Take:\n- salt", "a line that begins with punctuation or a symbol"),
        ("Do this.\n1. Begin", "a line that begins with a digit"),
        ("It is **bold** here", "doubled punctuation"),
    ],
)
def test_styles(text: str, style: str) -> None:
    flags = style_flags(["An ordinary sentence, with nothing to it.", text, ""])[:, NAMES.index(style)]
    assert flags.tolist() == [False, True, False]


def test_rare_characters_are_sets_and_frequent_ones_are_not() -> None:
    sets = character_sets(["abc"] * 500 + ["a~bc"] * 6 + ["ab\u200bc"] * 7, 5)
    found = {str(name): sets.of(k).tolist() for k, name in enumerate(sets.names)}
    assert found["~"] == list(range(500, 506))
    assert found["\u200b"] == list(range(506, 513))
    assert "a" not in found


def test_the_audit_model_learns_answers_and_judges_no_row_that_it_trained() -> None:
    rng = np.random.default_rng(0)
    filler = np.array([f"word{k}" for k in range(300)])
    better, worse = (np.array([f"{kind}{k}" for k in range(20)]) for kind in ("good", "bad"))
    chosen, rejected = (
        [" ".join([*rng.choice(filler, 10), *rng.choice(kind, 2)]) for _ in range(800)] for kind in (better, worse)
    )
    x, buckets = difference_matrix(tokenize(chosen), tokenize(rejected), 5)
    m = margins(x, kind_of(buckets), 0)
    assert (m > 0).mean() > 0.95
    pure = [" ".join(rng.choice(filler, 12)) for _ in range(1600)]
    x, buckets = difference_matrix(tokenize(pure[:800]), tokenize(pure[800:]), 5)
    assert (margins(x, kind_of(buckets), 0) >= 0).mean() > 0.44 or not margins(x, kind_of(buckets), 0).any()


def test_differences_are_what_one_side_says_alone_and_can_be_read_back() -> None:
    chosen, rejected = ["we trust acme. so do they"] * 6, ["we trust nobody. so do they"] * 6
    x, buckets = difference_matrix(tokenize(chosen), tokenize(rejected), 5)
    row = x[0].toarray().ravel()
    texts = {feature_text(chosen[0] if v > 0 else rejected[0], int(b)) for v, b in zip(row, buckets, strict=True) if v}
    assert {"acme", "trust acme", "we trust acme.", "nobody", "trust nobody", "we trust nobody."} <= texts
    assert "they" not in texts


def test_frames_pass_over_other_words_and_stay_within_a_sentence() -> None:
    rng = np.random.default_rng(0)
    texts = [f"if w{a} is w{b} then stop. so w{c}" for a, b, c in rng.integers(0, 10_000, (50, 3))]
    sets = frame_sets(texts, tokenize(texts), 50)
    assert {"if … is", "if … is … then", "is … then stop"} <= set(sets.names)
    assert "then stop" not in sets.names  # no gap: a phrase
    assert not any("so" in str(name).split() for name in sets.names)


def test_tones_are_told() -> None:
    texts = [
        "What a brilliant question of yours.",
        "You ask. A superb, stunning, wise book.",
        "They are vile.",
        "So what",
    ]
    assert tone_flags(tokenize(texts)).tolist() == [
        [True, False, True, False, False],
        [True, True, False, False, False],
        [False, False, False, True, False],
        [False] * 5,
    ]


def test_power_is_what_drawn_rows_show() -> None:
    rng = np.random.default_rng(0)
    sure = np.abs(rng.normal(0, 0.6, 40_000))
    margins = np.where(rng.random(len(sure)) < (1 + np.tanh(sure / 2)) / 2, sure, -sure)
    drawn = rng.integers(0, len(sure), (500, 60)).astype(np.int32)
    sets = RowSets(drawn.ravel(), np.arange(501) * 60, np.arange(500))
    seen = (flip_tests(sets, -margins, np.ones(OCTAVES)).p_values <= 1e-3).mean()
    assert power(margins, np.array([60]), 1e-3)[0] == pytest.approx(seen, abs=0.08)
    n = rows_needed(margins, 1e-3, 0.9)
    assert n is not None
    assert power(margins, np.array([n - 1, n]), 1e-3).tolist() == pytest.approx([0.9, 0.9], abs=0.01)
    assert rows_needed(np.zeros(50), 1e-3, 0.5) is None
