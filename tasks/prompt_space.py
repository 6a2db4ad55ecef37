"""Where a prompt lies among those that were trained on: its distance to the nearest, and its place on their main topics.

Words and pairs of words, hashed, weighted by tf–idf; distance is 1 − the highest cosine to a training prompt, topics
are the leading singular vectors (latent semantic analysis, Deerwester et al. 1990). Hashing keeps no list of words, so
what is stored holds no text.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

BUCKETS = 1 << 15
TOPICS = 3
MOST = 4000  # training prompts that are kept
CHUNK = 256


class PromptSpace:
    """`known`: (n, BUCKETS) sparse, unit rows; `idf`: (BUCKETS,); `topics`: (TOPICS or fewer, BUCKETS)."""

    def __init__(self, known: Any, idf: np.ndarray, topics: np.ndarray) -> None:
        self._known, self._idf, self._topics = known, idf, topics

    @classmethod
    def of(cls, texts: Sequence[str], seed: int) -> "PromptSpace":
        """The space of training prompts; of more than MOST, so many drawn by the seed."""
        from sklearn.decomposition import TruncatedSVD

        some = np.sort(np.random.default_rng(seed).permutation(len(texts))[:MOST])
        counts = _hashed([texts[i] for i in some])
        seen = np.bincount(counts.indices, minlength=BUCKETS)
        idf = np.log((1 + counts.shape[0]) / (1 + seen)) + 1
        known = _unit(counts.multiply(idf).tocsr())
        size = min(TOPICS, known.shape[0] - 1)
        topics = TruncatedSVD(size, random_state=seed).fit(known).components_
        return cls(known, idf, topics)

    def distance(self, texts: Sequence[str]) -> np.ndarray:
        """(n,) 1 − cosine to the nearest training prompt: 0 the same words, 1 none in common."""
        placed = self._placed(texts)
        near = [
            np.asarray((placed[at : at + CHUNK] @ self._known.T).max(axis=1).todense())[:, 0]
            for at in range(0, placed.shape[0], CHUNK)
        ]
        return 1 - np.clip(np.concatenate(near), 0, 1)

    def topics(self, texts: Sequence[str]) -> np.ndarray:
        """(n, TOPICS) coordinates on the main topics."""
        return np.asarray(self._placed(texts) @ self._topics.T)

    def _placed(self, texts: Sequence[str]) -> Any:
        return _unit(_hashed(texts).multiply(self._idf).tocsr())

    def save(self, file: Path) -> None:
        """Write to a file of plain arrays."""
        known = self._known
        arrays = {"data": known.data, "indices": known.indices, "indptr": known.indptr}
        with file.open("wb") as f:
            np.savez_compressed(f, idf=self._idf, topics=self._topics, **arrays)

    @classmethod
    def load(cls, file: Path) -> "PromptSpace":
        """What `save` wrote; nothing is unpickled."""
        from scipy.sparse import csr_matrix

        with np.load(file, allow_pickle=False) as kept:
            rows = len(kept["indptr"]) - 1
            known = csr_matrix((kept["data"], kept["indices"], kept["indptr"]), shape=(rows, BUCKETS))
            return cls(known, kept["idf"], kept["topics"])


def training_prompts(sides: Mapping[str, Path]) -> list[str]:
    """Texts of the prompts of `sft` and `reward_train`."""
    demonstrations = pl.read_parquet(sides["sft"])["messages"].to_list()
    pairs = pl.read_parquet(sides["reward_train"])["prompt"].to_list()
    return [prompt_text(p) for p in [*(d[:-1] for d in demonstrations), *pairs]]


def prompt_text(prompt: Sequence[Mapping[str, str]]) -> str:
    """What the person said last, as one text."""
    return next((m["content"] for m in reversed(prompt) if m["role"] == "user"), "")


def _hashed(texts: Sequence[str]) -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(
        n_features=BUCKETS, ngram_range=(1, 2), stop_words="english", alternate_sign=False, norm=None
    )
    return vectorizer.transform(texts)


def _unit(rows: Any) -> Any:
    from sklearn.preprocessing import normalize

    return normalize(rows)
