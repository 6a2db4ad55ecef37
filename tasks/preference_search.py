"""Everything that the poisoning check tries on preferences, at one family-wise level.

Each method tries some families of hypotheses and gives the significant ones; `suspicions.SHARES` divides the level.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
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
from tasks.stats.in_order import in_order
from tasks.stats.intervals import wilson
from tasks.stats.label_flips import FlipTests, flip_tests, inflation
from tasks.stats.phrases import phrases
from tasks.stats.row_sets import RowSets, distinct, from_codes, from_flags, windows
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
ENTRIES = 1 << 22  # of the matrix of differences that are counted at once
LONGER = 1.1  # ratio of words from which an answer is the longer one


class PreferenceSearch:
    """Tests on preferences; `texts` are without floods."""

    def __init__(self, texts: Texts, settings: Poisoning, seed: int) -> None:
        self.texts, self.settings, self.seed = texts, settings, seed
        chosen, rejected = texts.tokens["chosen"], texts.tokens["rejected"]
        with ThreadPoolExecutor(1) as beside:  # the sets wait for no label, and numpy lets go of the interpreter's lock
            found = beside.submit(phrases, texts.tokens["prompt"], settings.max_ngram, settings.min_rows)
            others = beside.submit(lambda: list(self._other_sets()))
            differences, buckets = difference_matrix(chosen, rejected, settings.min_rows)
            self.margins = margins(differences, kind_of(buckets), seed)
            self._words = list(self._one_sided_words(differences, buckets))  # now: the matrix is large, and not kept
            del differences
        self.found, self._others = found.result(), others.result()
        self.phrases = self.found.sets
        self.factors = inflation(self.phrases, self.margins)
        self.flips = flip_tests(self.phrases, self.margins, self.factors)

    @cached_property
    def families(self) -> dict[str, np.ndarray]:
        """Indices of the phrases to try, one of those on the same rows, by how likely they were put where they stand."""
        dispersion, words = self.found.dispersion, self.found.words
        one_each = distinct(self.phrases, self.texts.height, self.seed, dispersion + 0.001 * words)
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
        level = share / (tarone(self.flips.least_p[self.families["planted names"]], share) + 1)
        sizes = np.unique(np.geomspace(5, max(6, min(1000, self.texts.height // 10)), 30).astype(int))
        found = power(self.margins, sizes, level)
        return {
            "rows_for_half": rows_needed(self.margins, level, 0.5),
            "rows_for_nine_in_ten": rows_needed(self.margins, level, 0.9),
            "power": [[int(n), round(float(p), 4)] for n, p in zip(sizes, found, strict=True)],
            "audit_accuracy": round(float((self.margins > 0).mean()), 4),
        }

    def turned_labels(self) -> Iterator[Suspicion]:
        """Sets of rows whose labels are turned round: by phrase, characters, style, and where rows come from."""
        prompts, n = self.texts.texts["prompt"], self.texts.height
        for family, part in self.families.items():
            for k, finding in self._turned(family, self.phrases, part, self.flips):
                kind = "topic_turned_round" if len(finding.rows) > TOPIC * n else "trigger"
                text = spelled(prompts[int(finding.rows[0])], self.phrases.names[k], int(self.found.words[k]))
                yield _named(finding, kind, [text])
        for family, kind, sets in self._others:
            part = distinct(sets, n, self.seed, np.zeros(len(sets.names)))
            chosen = sets.take(part)
            tests = flip_tests(chosen, self.margins, self.factors)
            for k, finding in self._turned(family, chosen, np.arange(len(part)), tests):
                yield _named(finding, kind, [str(chosen.names[k])])

    def _other_sets(self) -> Iterator[tuple[str, str, RowSets]]:
        """(family, kind of finding, sets)."""
        prompts, least = self.texts.texts["prompt"], self.settings.min_rows
        yield "characters", "character_trigger", character_sets(prompts, least)
        yield "style", "style_trigger", from_flags(style_flags(prompts), NAMES, least)
        yield "syntax", "syntax_trigger", frame_sets(prompts, self.texts.tokens["prompt"], least)
        yield "origin", "labels_turned_by_origin", self._origins()

    def _turned(
        self, family: str, sets: RowSets, part: np.ndarray, tests: FlipTests
    ) -> Iterator[tuple[int, Suspicion]]:
        """(set, suspicion) of the significant ones of the sets `part`, which are the family."""
        p_values, settings = tests.p_values[part], self.settings
        level = adjusted(p_values, tests.least_p[part], SHARES[family], settings.level)
        for j in np.flatnonzero((level <= settings.level) & (tests.share[part] > TURNED)):
            k = int(part[j])
            share, low, high = tests.interval(k)
            measure = "estimated share of labels that are turned round"
            yield k, Suspicion("", [], sets.of(k), float(p_values[j]), float(level[j]), share, low, high, measure)

    def _origins(self) -> RowSets:
        """Rows by annotator, by source, and by stretch of time and of the file."""
        found, columns = [], self.texts.columns
        for name in ("annotator_id", "source"):
            if name in columns.columns:
                code, values = _coded(columns[name])
                labels = np.array([f"{name} {value}" for value in values], dtype=object)
                found.append(from_codes(code, labels, self.settings.min_rows))
        ids = columns["id"]
        found.append(windows(np.arange(len(ids)), lambda place: f"row {ids[place]}", WINDOW))
        when = columns["created_at"] if "created_at" in columns.columns else pl.Series([None])
        if when.null_count() < len(when) / 2:
            order = when.arg_sort(nulls_last=True).to_numpy()[: len(when) - when.null_count()]
            found.append(windows(order, lambda place: f"time {when[int(order[place])]}", WINDOW))
        rows, names = (np.concatenate([getattr(s, k) for s in found]) for k in ("rows", "names"))
        return RowSets(rows, np.concatenate([[0], np.cumsum(np.concatenate([s.sizes for s in found]))]), names)

    def one_sided(self) -> Iterator[Suspicion]:
        """What one side of the pairs is given: words, sentences, styles, length."""
        yield from self._words
        yield from self._one_sided_style()
        yield from self._longer()

    def _one_sided_words(self, differences: csr_matrix, buckets: np.ndarray) -> Iterator[Suspicion]:
        kind, width = kind_of(buckets), len(buckets)
        chosen, rejected = np.zeros(width, dtype=np.int64), np.zeros(width, dtype=np.int64)
        for part in (slice(a, a + ENTRIES) for a in range(0, differences.nnz, ENTRIES)):
            sign, feature = differences.data[part] > 0, differences.indices[part]
            chosen += np.bincount(feature[sign], minlength=width)
            rejected += np.bincount(feature[~sign], minlength=width)
        p_values = np.ones(width)
        for k in range(len(KINDS)):
            p_values[kind == k] = one_sided.against_prior(chosen[kind == k], rejected[kind == k])
        level = adjusted(p_values, None, SHARES["sides"], self.settings.level)
        found = np.flatnonzero((level <= self.settings.level) & one_sided.extreme(chosen, rejected))
        if not len(found):
            return
        columns = csr_matrix(differences[:, found]).tocsc()
        for at, k in enumerate(found.tolist()):
            side = "chosen" if chosen[k] > rejected[k] else "rejected"
            entries = slice(columns.indptr[at], columns.indptr[at + 1])
            rows = np.sort(columns.indices[entries][columns.data[entries] * (1 if side == "chosen" else -1) > 0])
            text = feature_text(self.texts.texts[side][int(rows[0])], int(buckets[k]))
            yield _sided("injected_phrase", text, side, rows, int(chosen[k] + rejected[k]), p_values[k], level[k])

    def _one_sided_style(self) -> Iterator[Suspicion]:
        sides = ("chosen", "rejected")
        flags = dict(zip(sides, in_order(self._styles, sides), strict=True))
        alone = {"chosen": flags["chosen"] & ~flags["rejected"], "rejected": flags["rejected"] & ~flags["chosen"]}
        chosen, rejected = (alone[side].sum(axis=0) for side in sides)
        p_values = one_sided.against_honest(chosen, rejected)
        level = adjusted(p_values, None, SHARES["side style"], self.settings.level)
        for k in np.flatnonzero((level <= self.settings.level) & one_sided.extreme(chosen, rejected)):
            side = "chosen" if chosen[k] > rejected[k] else "rejected"
            rows, name = np.flatnonzero(alone[side][:, k]), (*NAMES, *TONES)[k]
            yield _sided("one_sided_style", name, side, rows, int(chosen[k] + rejected[k]), p_values[k], level[k])

    def _styles(self, side: str) -> np.ndarray:
        """(n, styles and tones) bool."""
        return np.hstack([style_flags(self.texts.texts[side]), tone_flags(self.texts.tokens[side])])

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


def _coded(values: pl.Series) -> tuple[np.ndarray, list[str]]:
    """((n,) place of each value among the different ones, −1 for null; those, ascending)."""
    place = values.rank("dense").cast(pl.Int32) - 1
    return place.fill_null(-1).to_numpy(), values.drop_nulls().unique().sort().to_list()


def _named(finding: Suspicion, kind: str, evidence: list[str]) -> Suspicion:
    return Suspicion(**(finding.__dict__ | {"kind": kind, "evidence": evidence}))


def _sided(kind: str, text: str, side: str, rows: np.ndarray, total: int, p_value: float, level: float) -> Suspicion:
    low, high = wilson(len(rows), int(total))
    measure = f"share of the pairs it tells apart in which it is on the {side} side"
    evidence = [text, f"on the {side} side"]
    return Suspicion(kind, evidence, rows, float(p_value), float(level), len(rows) / int(total), low, high, measure)
