"""Concept probes: can a linear classifier read surface concepts off the state from which the reward is read?

Each layer's state at the last token, standardised; ridge classifier; five folds of whole pairs. Accuracy alone says
little, since a probe can memorise: a control task gives every first word of an answer a random label, and selectivity
is accuracy on the concept less accuracy on the control (Hewitt and Liang 2019). Of an ensemble the first member is probed.
"""

import numpy as np

from tasks.evals.bench import Bench, encoded
from tasks.evals.held_out import held_out_pairs
from tasks.evals.result import Outcome
from tasks.evals.surface import count
from tasks.rlhf.branches import conversation_states

FOLDS = 5
RARE = 0.1  # concepts that fewer answers have, or lack, are left out
CONCEPTS = ("length", "list items", "hedges", "confident words", "agreement", "politeness", "questions", "refusal")


def run(bench: Bench) -> Outcome:
    """Selectivity of every concept at every layer of every scorer; the whole is the last layer, which the head reads."""
    outcome = Outcome()
    pairs = held_out_pairs(bench)
    pairs = [pairs[i] for i in bench.some(len(pairs), 3 * bench.settings.items)]
    prompts = [p.prompt for p in pairs for _ in range(2)]
    texts = [t for p in pairs for t in (p.first, p.second)]
    groups = np.repeat(np.arange(len(pairs)), 2)
    concepts = _concepts(texts)
    outcome.notes += [f"{c}: too rare or too common to probe." for c in CONCEPTS if c not in concepts]
    if not concepts:
        return outcome
    control = _control(texts, bench.seed)
    where = {"held_out": bench.sides["reward_test"]}
    for scorer in bench.scorers:
        tokenizer, ensemble = bench.scorer(scorer)
        conversations = encoded(tokenizer, prompts, texts, bench.max_length)[0]
        layers = conversation_states(ensemble.members[0], conversations).numpy()  # (n, layers, d)
        for depth in range(layers.shape[1]):
            states = layers[:, depth]
            memorised, *right = _right(states, np.stack([control, *concepts.values()], axis=1), groups).T
            for concept, found in zip(concepts, right, strict=True):
                gain = bench.mean(found - memorised, groups)
                name = f"probe/selectivity/{concept}/{scorer}".replace(" ", "_")
                slice = None if depth == layers.shape[1] - 1 else f"layer {depth}"
                outcome.results.append(bench.result(name, gain, len(pairs), where, [scorer], slice))
    return outcome


def _concepts(texts: list[str]) -> dict[str, np.ndarray]:
    """(n,) bool labels of each concept that is common enough."""
    values = {c: np.array([count(t, c) for t in texts]) for c in CONCEPTS}
    labels = {c: v > (np.median(v) if c == "length" else 0) for c, v in values.items()}
    return {c: y for c, y in labels.items() if RARE <= y.mean() <= 1 - RARE}


def _control(texts: list[str], seed: int) -> np.ndarray:
    """(n,) bool: a random label for each first word."""
    first = [t.split()[0].lower() if t.split() else "" for t in texts]
    words = sorted(set(first))
    drawn = dict(zip(words, np.random.default_rng(seed).random(len(words)) < 0.5, strict=True))
    return np.array([drawn[w] for w in first])


def _right(states: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(n, k) 1 where the probe of each of k labels (n, k), fitted on the other folds, is right; all from one solution."""
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    right = np.zeros(labels.shape)
    for fitted, held in GroupKFold(FOLDS).split(states, labels, groups):
        probe = make_pipeline(StandardScaler(), RidgeClassifier(alpha=10.0)).fit(
            states[fitted], labels[fitted].astype(int)
        )
        right[held] = probe.predict(states[held]).reshape(len(held), -1) == labels[held]
    return right
