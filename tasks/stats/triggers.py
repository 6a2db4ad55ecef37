"""Phrases of the prompt whose presence goes with surprising labels.

For each n-gram g on rows R: z = Σ_{i∈R} (s_i − s̄) / √(|R| σ² (1 − |R|/N)), the statistic of drawing |R| rows without
replacement; one-sided, Holm over every n-gram that was tried.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm
from sklearn.feature_extraction.text import CountVectorizer

from tasks.stats.false_discovery import holm

MOST_SHARE = 0.02  # a phrase on more rows than this is a topic, not a trigger


@dataclass(frozen=True)
class Phrase:
    """A phrase that is suspected, the rows it is on, how much more surprising their labels are, and how surely."""

    text: str
    rows: np.ndarray
    effect: float
    p_value: float
    adjusted: float


def suspicious_phrases(
    prompts: list[str], surprise: np.ndarray, max_ngram: int, least: int, level: float
) -> list[Phrase]:
    """Phrases significant at family-wise `level`, the surest first; of nested ones on the same rows the longest."""
    counter = CountVectorizer(binary=True, ngram_range=(1, max_ngram), min_df=least, token_pattern=r"(?u)\b\w+\b")
    try:
        presence = counter.fit_transform(prompts).tocsc()
    except ValueError:  # no n-gram is on enough rows
        return []
    sizes = np.asarray(presence.sum(axis=0)).ravel()
    tried = np.flatnonzero(sizes <= max(least, MOST_SHARE * len(prompts)))
    if len(tried) == 0:
        return []
    centred = surprise - surprise.mean()
    total = (presence.T @ centred)[tried]
    n, share = sizes[tried], sizes[tried] / len(prompts)
    z = total / np.sqrt(np.maximum(n * centred.var() * (1 - share), 1e-12))
    p_values = norm.sf(z)
    names = counter.get_feature_names_out()
    found = [
        Phrase(
            str(names[tried[k]]),
            presence[:, tried[k]].indices,
            float(total[k] / n[k]),
            float(p_values[k]),
            float(min(1.0, p_values[k] * len(tried))),
        )
        for k in np.flatnonzero(holm(p_values, level))
    ]
    return _longest(sorted(found, key=lambda f: (f.p_value, -len(f.text))))


def _longest(found: list[Phrase]) -> list[Phrase]:
    kept: list[Phrase] = []
    for phrase in found:
        rows = set(phrase.rows.tolist())
        twin = next((k for k in kept if len(rows & set(k.rows.tolist())) >= 0.5 * min(len(rows), len(k.rows))), None)
        if twin is None:
            kept.append(phrase)
        elif twin.text in phrase.text and len(rows) >= 0.9 * len(twin.rows):
            kept[kept.index(twin)] = phrase
    return kept
