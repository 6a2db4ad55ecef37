"""Words as places in a vocabulary are the same words, and nothing depends on the parts that they are looked at in."""

import numpy as np
import pytest

from tasks.stats import word_table
from tasks.stats.ballots import Ballots, by_annotator, by_item, ordered, sums
from tasks.stats.collusion import shared_items
from tasks.stats.differences import difference_matrix
from tasks.stats.krippendorff import krippendorff_alpha
from tasks.stats.near_duplicates import floods
from tasks.stats.phrases import phrases
from tasks.stats.syntax import frame_sets
from tasks.stats.tokens import joined, tokenize
from tasks.stats.word_table import Beside, Words, WordTable


def texts(n: int, seed: int) -> list[str]:
    """Of few words, so that phrases recur; every thirtieth is nearly the same."""
    rng = np.random.default_rng(seed)
    words = np.array([f"w{k}" for k in range(40)] + ["if. the", "then."])
    made = [" ".join(rng.choice(words, int(rng.integers(0, 25)))) for _ in range(n)]
    return [f"{' '.join(words)} {k}" if k % 30 == 0 else t for k, t in enumerate(made)]


def table(given: list[str], size: int) -> Words:
    parts = WordTable()
    for first in range(0, len(given), size):
        parts.add(tokenize(given[first : first + size]))
    return parts.words()


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_words_are_those_of_the_texts_however_they_came(size: int) -> None:
    given = texts(100, 0)
    words, tokens = table(given, size), tokenize(given)
    assert (words.hashes == tokens.hashes).all()
    assert (words.opens == tokens.opens).all()
    assert (words.bounds == tokens.bounds).all()
    assert (np.diff(words.vocabulary.astype(object)) > 0).all()
    kept = np.array([0, 3, 4, 99])
    assert (words.take(kept).hashes == tokens.take(kept).hashes).all()
    counted = dict(zip(*np.unique(tokens.hashes, return_counts=True), strict=True))
    assert words.count().tolist() == [counted[h] for h in words.vocabulary]


def test_sets_do_not_depend_on_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    given, other = texts(400, 1), texts(400, 2)

    def found() -> list[np.ndarray]:
        words, answers = table(given, 50), table(other, 50)
        said, frames = phrases(words, 3, 5), frame_sets(given, words, 5)
        x, buckets = difference_matrix(words, answers, 5)
        copies = floods(Beside((words, answers)), 0.5, 5)
        return [
            said.sets.rows, said.sets.bounds, said.sets.names, said.words, said.dispersion, said.cohesion, said.inside,
            frames.rows, frames.bounds, frames.names, x.indices, x.data, x.indptr, buckets,
            *(f.rows for f in copies), *(c.rows() for c in [joined(words, answers)]),
        ]  # fmt: skip

    whole = found()
    assert len(whole) > 15  # there is a flood
    monkeypatch.setattr(word_table, "PART", 60)
    monkeypatch.setattr("tasks.stats.phrases.PART", 60)
    assert all(np.array_equal(a, b) for a, b in zip(whole, found(), strict=True))


def test_votes_are_counted_alike_in_whatever_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    item = np.repeat(np.arange(60, dtype=np.int32), 9)
    who = np.concatenate([np.sort(rng.choice(12, 9, replace=False)) for _ in range(60)]).astype(np.int32)
    choice, weight = rng.integers(0, 2, len(who)).astype(np.int8), rng.random(len(who)).astype(np.float32)
    ballots = Ballots(who, item, choice, np.full(60, -1, dtype=np.int8), 12)
    order = np.argsort(who, kind="stable").astype(np.int32)

    def counted() -> list[object]:
        pairs, alpha = shared_items(ballots), krippendorff_alpha(item, choice, "nominal")
        return [sums(who, weight, 12).tolist(), pairs.shared.tolist(), pairs.agreed.tolist(), alpha]

    whole = counted()
    assert whole[0] == np.bincount(who, weight, 12).tolist()
    monkeypatch.setattr("tasks.stats.ballots.AT_ONCE", 50)
    monkeypatch.setattr("tasks.stats.krippendorff.CELLS", 40)
    monkeypatch.setattr("tasks.stats.collusion.PENDING", 70)
    assert counted() == whole
    assert np.concatenate([rows for _, rows in by_annotator(who, order, 12)]).tolist() == order.tolist()
    for people, rows in by_annotator(who, order, 12):
        assert set(who[rows].tolist()) <= set(range(people.start, people.stop))
    assert [item[r.start] for r in by_item(item)] == sorted({int(item[r.start]) for r in by_item(item)})


@pytest.mark.parametrize("limit", [1000, 1 << 62])
def test_rows_in_order_of_a_key(limit: int) -> None:
    key = np.random.default_rng(4).integers(0, 1000, 5000)
    expected = np.argsort(key, kind="stable")
    given = key.copy()
    assert ordered(given, limit).tolist() == expected.tolist()
    assert given.tolist() == key[expected].tolist()
