"""Audit reward model that does not see the prompt: how surprising each pair's label is, given the two answers.

Logistic regression on the difference of hashed words and bigrams, cross-fitted: a row is never judged by a model that
it trained. A trigger in the prompt cannot be learned by it, so that flipped labels stay surprising.
"""

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold

FOLDS = 5


def surprise(chosen: list[str], rejected: list[str], seed: int) -> np.ndarray:
    """(n,) 1 − P(chosen is preferred), cross-fitted; about ½ where the answers tell nothing."""
    words = HashingVectorizer(n_features=1 << 18, ngram_range=(1, 2), norm="l2", alternate_sign=False)
    difference = words.transform(chosen) - words.transform(rejected)
    flip = np.random.default_rng(seed).integers(0, 2, len(chosen)) * 2 - 1  # two classes, without an intercept to learn
    features = difference.multiply(flip[:, None]).tocsr()
    out = np.empty(len(chosen))
    for train, test in KFold(FOLDS, shuffle=True, random_state=seed).split(features):
        model = LogisticRegression(C=1.0, fit_intercept=False, max_iter=200, tol=1e-3)
        model.fit(features[train], flip[train])
        out[test] = 1 / (1 + np.exp(flip[test] * model.decision_function(features[test])))
    return out
