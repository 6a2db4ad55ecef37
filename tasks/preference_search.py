"""Everything that the poisoning check tries on preferences, at one family-wise level.

Each method tries some families of hypotheses and gives the significant ones; `suspicions.SHARES` divides the level.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix

from tasks.params import Poisoning
from tasks.stats import one_sided
from tasks.stats.audit_model import margins
from tasks.stats.characters import character_sets
from tasks.stats.detectable import power, rows_needed
from tasks.stats.differences import KINDS, difference_matrix, feature_text, kind_of
from tasks.stats.family_wise import adjusted, tarone
from tasks.stats.intervals import wilson
from tasks.stats.label_flips import FlipTests, flip_tests, inflation
from tasks.stats.phrases import phrases
from tasks.stats.row_sets import RowSets, distinct, from_flags, from_labels, windows
from tasks.stats.syntax import frame_sets
from tasks.stats.tokens import spelled
from tasks.stats.tone import NAMES as TONES
from tasks.stats.tone import tone_flags
from tasks.stats.writing_style import NAMES, style_flags
from tasks.suspicions import SHARES, TOPIC, TURNED, Suspicion, Texts

PLANTED = 0.7  # dispersion from which a phrase stands in too many contexts to be at home in them
COHESIVE = 0.5  # of the places of its rarest word, the share from which a phrase is a name rather than a turn of speech
INSIDE = 0.5  # of its places, the share within a sentence from which a phrase is not a sentence of its own
WINDOW = 32  # rows of the shortest stretch of time or of the file that is tried
LONGER = 1.1  # ratio of words from which an answer is the longer one


class PreferenceSearch:
    """Tests on preferences; `table` and `texts` are without floods."""

    def __init__(self, table: pl.DataFrame, texts: Texts, settings: Poisoning, seed: int) -> None:
        self.table, self.texts, self.settings, self.seed = table, texts, settings, seed
        chosen, rejected = texts.tokens["chosen"], texts.tokens["rejected"]
        self.differences, self.buckets = difference_matrix(chosen, rejected, settings.min_rows)
        self.margins = margins(self.differences, kind_of(self.buckets), seed)
        self.found = phrases(texts.tokens["prompt"], settings.max_ngram, settings.min_rows)
        self.phrases = self.found.sets
        self.factors = inflation(self.phrases, self.margins)
        self.flips = flip_tests(self.phrases, self.margins, self.factors)

    def families(self) -> dict[str, np.ndarray]:
        """Indices of the phrases to try, one of those on the same rows, by how likely they were put where they stand."""
        dispersion, words = self.found.dispersion, self.found.words
        one_each = distinct(self.phrases, self.table.height, self.seed, dispersion + 0.001 * words)
        planted = dispersion[one_each] > PLANTED
        cohesive, inside = self.found.cohesion[one_each] > COHESIVE, self.found.inside[one_each] > INSIDE
        name = planted & (words[one_each] > 1) & cohesive & inside
        return {
            "planted names": one_each[name],
            "planted phrases": one_each[planted & ~name],
            "phrases": one_each[~planted],
        }

    def detectable(self) -> dict[str, Any]:
        """From how many rows on a made-up trigger of two words, all of its labels turned, would be found here."""
        share = self.settings.level * SHARES["planted names"]
        level = share / (tarone(self.flips.least_p[self.families()["planted names"]], share) + 1)
        sizes = np.unique(np.geomspace(5, max(6, min(1000, self.table.height // 10)), 30).astype(int))
        found = power(self.margins, sizes, level)
        return {
            "rows_for_half": rows_needed(self.margins, level, 0.5),
            "rows_for_nine_in_ten": rows_needed(self.margins, level, 0.9),
            "power": [[int(n), round(float(p), 4)] for n, p in zip(sizes, found, strict=True)],
            "audit_accuracy": round(float((self.margins > 0).mean()), 4),
        }

    def turned_labels(self) -> Iterator[Suspicion]:
        """Sets of rows whose labels are turned round: by phrase, characters, style, and where rows come from."""
        prompts, least, n = self.texts.texts["prompt"], self.settings.min_rows, self.table.height
        for family, part in self.families().items():
            for k, finding in self._turned(family, self.phrases.take(part), _take(self.flips, part)):
                kind = "topic_turned_round" if len(finding.rows) > TOPIC * n else "trigger"
                name = self.phrases.names[part[k]]
                text = spelled(prompts[int(finding.rows[0])], name, int(self.found.words[part[k]]))
                yield _named(finding, kind, [text])
        flags = from_flags(style_flags(prompts), NAMES, least)
        for family, sets, kind in (
            ("characters", character_sets(prompts, least), "character_trigger"),
            ("style", flags, "style_trigger"),
            ("syntax", frame_sets(prompts, self.texts.tokens["prompt"], least), "syntax_trigger"),
            ("origin", self._origins(), "labels_turned_by_origin"),
        ):
            chosen = sets.take(distinct(sets, n, self.seed, np.zeros(len(sets.names))))
            for k, finding in self._turned(family, chosen, flip_tests(chosen, self.margins, self.factors)):
                yield _named(finding, kind, [str(chosen.names[k])])

    def _turned(self, family: str, sets: RowSets, tests: FlipTests) -> Iterator[tuple[int, Suspicion]]:
        level = adjusted(tests.p_values, tests.least_p, SHARES[family], self.settings.level)
        for k in np.flatnonzero((level <= self.settings.level) & (tests.share > TURNED)):
            share, low, high = tests.interval(int(k))
            measure = "estimated share of labels that are turned round"
            yield (
                int(k),
                Suspicion(
                    "", [], sets.of(int(k)), float(tests.p_values[k]), float(level[k]), share, low, high, measure
                ),
            )

    def _origins(self) -> RowSets:
        """Rows by annotator, by source, and by stretch of time and of the file."""
        found = []
        for column in ("annotator_id", "source"):
            if column in self.table.columns:
                sets = from_labels(self.table[column].to_list(), self.settings.min_rows)
                found.append(RowSets(sets.rows, sets.bounds, np.array([f"{column} {v}" for v in sets.names], object)))
        ids = self.table["id"].to_list()
        found.append(windows(np.arange(len(ids)), [f"row {i}" for i in ids], WINDOW))
        when = self.table["created_at"] if "created_at" in self.table.columns else pl.Series([None])
        if when.null_count() < len(when) / 2:
            order = when.arg_sort(nulls_last=True).to_numpy()[: len(when) - when.null_count()]
            found.append(windows(order, [f"time {when[int(i)]}" for i in order], WINDOW))
        rows, names = (np.concatenate([getattr(s, k) for s in found]) for k in ("rows", "names"))
        return RowSets(rows, np.concatenate([[0], np.cumsum(np.concatenate([s.sizes for s in found]))]), names)

    def one_sided(self) -> Iterator[Suspicion]:
        """What one side of the pairs is given: words, sentences, styles, length."""
        yield from self._one_sided_words()
        yield from self._one_sided_style()
        yield from self._longer()

    def _one_sided_words(self) -> Iterator[Suspicion]:
        sign, kind, width = self.differences.data > 0, kind_of(self.buckets), len(self.buckets)
        chosen = np.bincount(self.differences.indices[sign], minlength=width)
        rejected = np.bincount(self.differences.indices[~sign], minlength=width)
        p_values = np.ones(width)
        for k in range(len(KINDS)):
            p_values[kind == k] = one_sided.against_prior(chosen[kind == k], rejected[kind == k])
        level = adjusted(p_values, None, SHARES["sides"], self.settings.level)
        found = np.flatnonzero((level <= self.settings.level) & one_sided.extreme(chosen, rejected))
        if not len(found):
            return
        columns = csr_matrix(self.differences[:, found]).tocsc()
        for at, k in enumerate(found.tolist()):
            side = "chosen" if chosen[k] > rejected[k] else "rejected"
            entries = slice(columns.indptr[at], columns.indptr[at + 1])
            rows = np.sort(columns.indices[entries][columns.data[entries] * (1 if side == "chosen" else -1) > 0])
            text = feature_text(self.texts.texts[side][int(rows[0])], int(self.buckets[k]))
            yield _sided("injected_phrase", text, side, rows, int(chosen[k] + rejected[k]), p_values[k], level[k])

    def _one_sided_style(self) -> Iterator[Suspicion]:
        flags = {
            side: np.hstack([style_flags(self.texts.texts[side]), tone_flags(self.texts.tokens[side])])
            for side in ("chosen", "rejected")
        }
        alone = {"chosen": flags["chosen"] & ~flags["rejected"], "rejected": flags["rejected"] & ~flags["chosen"]}
        chosen, rejected = (alone[side].sum(axis=0) for side in ("chosen", "rejected"))
        p_values = one_sided.against_honest(chosen, rejected)
        level = adjusted(p_values, None, SHARES["side style"], self.settings.level)
        for k in np.flatnonzero((level <= self.settings.level) & one_sided.extreme(chosen, rejected)):
            side = "chosen" if chosen[k] > rejected[k] else "rejected"
            rows, name = np.flatnonzero(alone[side][:, k]), (*NAMES, *TONES)[k]
            yield _sided("one_sided_style", name, side, rows, int(chosen[k] + rejected[k]), p_values[k], level[k])

    def _longer(self) -> Iterator[Suspicion]:
        """Annotators, sources or stretches in which the chosen answer is the longer one far more often than elsewhere."""
        words = [np.diff(self.texts.tokens[side].bounds) for side in ("chosen", "rejected")]
        longer, shorter = (a > LONGER * b for a, b in (words, words[::-1]))
        usual = longer.sum() / max(1, longer.sum() + shorter.sum())
        sets = self._origins()
        chosen, rejected = sets.sums(longer).astype(int), sets.sums(shorter).astype(int)
        p_values = one_sided.against_honest(chosen, rejected, max(one_sided.HONEST, (1 + usual) / 2))
        p_values[chosen < rejected] = 1.0
        level = adjusted(p_values, None, SHARES["length"], self.settings.level)
        for k in np.flatnonzero((level <= self.settings.level) & one_sided.extreme(chosen, rejected)):
            rows = sets.of(int(k))[longer[sets.of(int(k))]]
            text = f"longer answers preferred by {sets.names[k]}"
            yield _sided("verbosity", text, "chosen", rows, int(chosen[k] + rejected[k]), p_values[k], level[k])


def _take(tests: FlipTests, kept: np.ndarray) -> FlipTests:
    return FlipTests(*(getattr(tests, k)[kept] for k in ("p_values", "least_p", "share", "error")))


def _named(finding: Suspicion, kind: str, evidence: list[str]) -> Suspicion:
    return Suspicion(**(finding.__dict__ | {"kind": kind, "evidence": evidence}))


def _sided(kind: str, text: str, side: str, rows: np.ndarray, total: int, p_value: float, level: float) -> Suspicion:
    low, high = wilson(len(rows), int(total))
    measure = f"share of the pairs it tells apart in which it is on the {side} side"
    evidence = [text, f"on the {side} side"]
    return Suspicion(kind, evidence, rows, float(p_value), float(level), len(rows) / int(total), low, high, measure)
