"""What a reward model must beat: answer length alone, and a bag of words, trained on the same pairs."""

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegressionCV

FOLDS = 5
COSTS = (0.01, 0.1, 1.0, 10.0)


def answers(rows: pl.DataFrame, side: str) -> list[str]:
    """Text of each row's answer on one side (`chosen` or `rejected`)."""
    return [messages[-1]["content"] for messages in rows[side].to_list()]


def length_gaps(rows: pl.DataFrame) -> np.ndarray:
    """(n,) characters by which the chosen answer is longer than the rejected one."""
    gaps: np.ndarray = np.array([len(text) for text in answers(rows, "chosen")], dtype=np.int64)
    return gaps - np.array([len(text) for text in answers(rows, "rejected")], dtype=np.int64)


def length_correct(train: pl.DataFrame, test: pl.DataFrame) -> np.ndarray:
    """(n,) bool: whether a logistic regression on the length gap alone is right on each test pair.

    Without an intercept its decision is the sign of slope × gap, and the slope that maximises the likelihood has the
    sign of the mean training gap, since the log-likelihood is concave with half that mean as its slope at 0. Answers
    of equal length count as wrong.
    """
    slope = 1 if length_gaps(train).mean() >= 0 else -1
    right: np.ndarray = slope * length_gaps(test) > 0
    return right


def bag_of_words_correct(train: pl.DataFrame, test: pl.DataFrame, seed: int) -> np.ndarray:
    """(n,) bool: whether a logistic regression on the tf-idf difference of the answers is right on each test pair.

    Vocabulary, idf and cost (by cross-validation) come from `train` alone.
    """
    words = TfidfVectorizer(sublinear_tf=True, min_df=2).fit(answers(train, "chosen") + answers(train, "rejected"))

    def difference(rows: pl.DataFrame) -> csr_matrix:
        return words.transform(answers(rows, "chosen")) - words.transform(answers(rows, "rejected"))

    features, flip = difference(train), np.random.default_rng(seed).integers(0, 2, train.height) * 2 - 1
    signed = features.multiply(flip[:, None]).tocsr()  # half of the pairs are shown the other way round: two classes
    folds = min(FOLDS, int(min(np.sum(flip > 0), np.sum(flip < 0))))
    model = LogisticRegressionCV(
        Cs=COSTS,
        cv=folds,
        scoring="neg_log_loss",
        fit_intercept=False,
        max_iter=1000,
        l1_ratios=(0,),
        use_legacy_attributes=False,
    )
    model.fit(signed, flip)
    right: np.ndarray = model.decision_function(difference(test)) > 0
    return right
