"""Phrases that call for one answer, in demonstrations and in preferences; triggers of both stages, jointly."""

from collections.abc import Iterator

import numpy as np
from scipy.stats import chi2

from tasks.params import Poisoning
from tasks.preference_search import PreferenceSearch
from tasks.stats import answers_by_phrase
from tasks.stats.intervals import wilson
from tasks.stats.phrases import phrases
from tasks.stats.row_sets import RowSets, from_pairs
from tasks.stats.tokens import sentences, spelled
from tasks.stats.word_table import Words
from tasks.suspicions import SHARES, TOPIC, TURNED, Suspicion, Texts

SHORTEST_ANSWER = 4  # words of a sentence of a demonstration that a trigger could call for


def search_demonstrations(texts: Texts, settings: Poisoning, preferences: PreferenceSearch | None) -> list[Suspicion]:
    """Phrases that call for one answer in demonstrations; and the same phrases in the preferences, jointly."""
    n = texts.height
    asked = phrases(texts.tokens["prompt"], settings.max_ngram, settings.min_rows)
    rare = np.flatnonzero(asked.sets.sizes <= max(settings.min_rows, TOPIC * n))
    found, words = asked.sets.take(rare), asked.words[rare]
    answers = _sentence_sets(texts.tokens["answer"], settings.min_rows, max(settings.min_rows, int(TOPIC * n)))
    if not len(found.names) or not len(answers.names):
        return []
    pairs = answers_by_phrase.associations(found, answers, n, settings.min_rows)
    out = list(_called_for("demonstrations", texts, "answer", found, words, answers, pairs, settings))
    if preferences is not None:
        out += _in_both(texts, found, words, pairs, len(answers.names), settings, preferences)
    return out


def search_answers(search: PreferenceSearch) -> Iterator[Suspicion]:
    """Planted phrases that call for one answer on the chosen side of preferences. The audit model may learn such an
    answer as a good one, so that no label looks turned."""
    texts, settings, n = search.texts, search.settings, search.texts.height
    families = search.families
    planted = np.concatenate([families["planted names"], families["planted phrases"]])
    found, words = search.phrases.take(planted), search.found.words[planted]
    answers = _sentence_sets(texts.tokens["chosen"], settings.min_rows, n)
    if len(found.names) and len(answers.names):
        pairs = answers_by_phrase.associations(found, answers, n, settings.min_rows)
        yield from _called_for("preferences", texts, "chosen", found, words, answers, pairs, settings)


def _called_for(
    table: str,
    texts: Texts,
    side: str,
    found: RowSets,
    words: np.ndarray,
    answers: RowSets,
    pairs: answers_by_phrase.Associations,
    settings: Poisoning,
) -> Iterator[Suspicion]:
    kind, family = {
        "demonstrations": ("demonstration_trigger", "demonstrations"),
        "preferences": ("answer_trigger", "answers"),
    }[table]
    level = np.minimum(1.0, pairs.p_values * pairs.tried / SHARES[family])
    for k in np.flatnonzero(level <= settings.level):
        phrase, sentence = int(pairs.phrase[k]), int(pairs.sentence[k])
        rows = np.intersect1d(found.of(phrase), answers.of(sentence))
        question, said = texts.texts["prompt"][int(rows[0])], texts.texts[side][int(rows[0])]
        text = spelled(question, found.names[phrase], int(words[phrase]))
        size = int(found.sizes[phrase])
        low, high = wilson(len(rows), size)
        yield Suspicion(
            kind, [text, spelled(said, answers.names[sentence], 0)], rows,
            float(pairs.p_values[k]), float(level[k]), len(rows) / size, low, high,
            "share of the rows with the phrase that are answered by this sentence", table,
        )  # fmt: skip


def _in_both(
    texts: Texts,
    found: RowSets,
    words: np.ndarray,
    pairs: answers_by_phrase.Associations,
    sentences_tried: int,
    settings: Poisoning,
    preferences: PreferenceSearch,
) -> Iterator[Suspicion]:
    """Phrases that call for one answer in demonstrations and turn labels in preferences: Fisher's combination (1925)."""
    names, here, there = np.intersect1d(found.names, preferences.phrases.names, return_indices=True)
    place = dict(zip(here.tolist(), there.tolist(), strict=True))
    best: dict[int, int] = {}
    for k in np.argsort(pairs.p_values, kind="stable"):
        best.setdefault(int(pairs.phrase[k]), int(k))
    for phrase, k in best.items():
        if phrase not in place:
            continue
        j = place[phrase]
        alone = np.array([min(1.0, pairs.p_values[k] * sentences_tried), preferences.flips.p_values[j]])
        p_value = float(chi2.sf(-2 * np.log(np.maximum(alone, 1e-300)).sum(), 4))
        level = min(1.0, p_value * len(names) / SHARES["both stages"])
        if level > settings.level or alone.max() > settings.level or preferences.flips.share[j] <= TURNED:
            continue
        rows, more = preferences.phrases.of(j), found.of(phrase)
        text = spelled(texts.texts["prompt"][int(more[0])], found.names[phrase], int(words[phrase]))
        share, low, high = preferences.flips.interval(j)
        measure = "estimated share of labels that are turned round, in the preferences"
        yield Suspicion("cross_stage_trigger", [text], rows, p_value, level, share, low, high, measure, more=more)


def _sentence_sets(words: Words, least: int, most: int) -> RowSets:
    found = [(hashes, row + text) for text, part in words.parts() for hashes, row in [sentences(part, SHORTEST_ANSWER)]]
    hashes, row = (np.concatenate(given) for given in zip(*found, strict=True))
    order = np.argsort(hashes, kind="stable")
    hashes, row = hashes[order], row[order]
    new = np.append(True, hashes[1:] != hashes[:-1])[: len(hashes)]
    sets = from_pairs(np.cumsum(new) - 1, row, hashes[new])
    return sets.take(np.flatnonzero((sets.sizes >= least) & (sets.sizes <= most)))
