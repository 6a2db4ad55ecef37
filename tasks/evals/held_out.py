"""The run's own held-out pairs and prompts, and the topics that they fall into."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from tasks.evals.bench import Bench
from tasks.evals.files import Pair
from tasks.rlhf.encoding import Messages

LEAST = 30  # items of a slice


def held_out_pairs(bench: Bench) -> list[Pair]:
    """Pairs of the test side, the chosen answer first."""
    table = pl.read_parquet(bench.sides["reward_test"])
    return [
        Pair(
            row["prompt"], row["chosen"][-1]["content"], row["rejected"][-1]["content"], 1, (), row["source"] or "none"
        )
        for row in table.iter_rows(named=True)
    ]


def held_out_scores(bench: Bench, scorer: str) -> tuple[np.ndarray, np.ndarray]:
    """(scores of the chosen answers, of the rejected ones) of the held-out pairs."""
    pairs = held_out_pairs(bench)
    texts = [p.first for p in pairs] + [p.second for p in pairs]
    first, second = bench.score_texts(scorer, [p.prompt for p in pairs] * 2, texts).reshape(2, -1)
    return first, second


def held_out_prompts(bench: Bench, most: int | None = None) -> list[Messages]:
    """At most `items`, or `most`, prompts of the evaluation side."""
    prompts = pl.read_parquet(bench.sides["eval_prompts"])["prompt"].to_list()
    return [prompts[i] for i in bench.some(len(prompts), most)]


def topics(prompts: Sequence[Messages], seed: int) -> list[str]:
    """Name of each prompt's topic, its three heaviest words: k-means on tf–idf of the last user message, which needs
    no list of topics."""
    from sklearn.cluster import KMeans
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [next((m["content"] for m in reversed(p) if m["role"] == "user"), "") for p in prompts]
    count = min(6, len(texts) // LEAST)
    if count < 2:
        return ["all"] * len(texts)
    vectorizer = TfidfVectorizer(stop_words="english", min_df=2, max_df=0.5)
    try:
        weights = vectorizer.fit_transform(texts)
    except ValueError:  # no word is in two texts
        return ["all"] * len(texts)
    model = KMeans(count, n_init=3, random_state=seed).fit(weights)
    words = vectorizer.get_feature_names_out()
    names = [" ".join(words[np.argsort(-centre, kind="stable")[:3]]) for centre in model.cluster_centers_]
    return [names[label] for label in model.labels_]
