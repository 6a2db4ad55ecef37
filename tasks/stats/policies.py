"""Answers that do not come from reading: the one shown first, the longer one, one answer whatever the item.

Of n votes for which the cue is known, k follow it. Under the policy the rate r is uniform on [least, 1] and, for the
opposite cue, on [0, 1 − least]:

    evidence = log ∫ r^k (1 − r)^(n−k) dr / (2 (1 − least))      a truncated beta-binomial (Skellam 1948)

and votes without the cue are as good as a coin's. Real people lean to the first and the longer response a little;
the test for that is the two-sided beta-binomial one against the crowd's own distribution of leanings, fitted by
moments: p = P(at least as extreme | n, α, β). O(votes).
"""

import numpy as np
from scipy.special import betainc, betaln, gammaln, ndtr

from tasks.stats.ballots import UNKNOWN, Ballots

FOLLOWS = 0.8  # four votes of five: who follows a cue less than that may be reading, too
ANY = 0.5  # a coin with any bias
NORM = 0.7  # where half of the crowd follows a cue as often as this, the items speak for it


def cue_counts(ballots: Ballots, cue: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """(votes that follow `cue`, votes for which it is known), (annotators,) each. `cue`: (votes,) the choice that it
    suggests, −1 unknown; None: always a."""
    if cue is None:
        return ballots.per_annotator(ballots.choice), ballots.per_annotator()
    known = cue != UNKNOWN
    return ballots.per_annotator(known & (cue == ballots.choice)), ballots.per_annotator(known)


def policy_evidence(follows: np.ndarray, known: np.ndarray, votes: np.ndarray, least: float) -> np.ndarray:
    """(annotators,) log-likelihood of the policy, for or against the cue with equal weight."""
    k, n = follows, known
    whole = betaln(k + 1, n - k + 1)
    with np.errstate(divide="ignore"):
        up = np.log(betainc(n - k + 1, k + 1, 1 - least))
        down = np.log(betainc(k + 1, n - k + 1, 1 - least))
    evidence: np.ndarray = whole + np.logaddexp(up, down) - np.log(2 * (1 - least)) + (votes - n) * np.log(0.5)
    return np.maximum(evidence, -1e6)


def as_usual(follows: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(annotators,) bool: who follows the cue no further than half of the crowd does, up to two standard errors, where that
    is far; nobody where the crowd goes both ways.

    Where the preferred response is stored first, everybody answers a: that is what the items are like, and a policy of
    answering a explains it as well as reading does.
    """
    rate = follows / np.maximum(known, 1)
    middle = float(np.median(rate[known > 0])) if (known > 0).any() else 0.5
    if max(middle, 1 - middle) < NORM:
        return np.zeros(len(rate), dtype=bool)
    side = 1.0 if middle >= 0.5 else -1.0
    margin = 2 * np.sqrt(middle * (1 - middle) / np.maximum(known, 1))
    usual: np.ndarray = (side * (rate - 0.5) > 0) & (side * (rate - middle) <= margin)
    return usual


def leaning_p_values(follows: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(annotators,) two-sided p-values of leaning otherwise than the crowd does; 1 without votes."""
    enough = known >= 2
    p_values = np.ones(len(known))
    if enough.sum() < 3:
        return p_values
    k, n = follows[enough], known[enough]
    mean = float(k.sum() / n.sum())
    rates = k / n
    sampling = float((mean * (1 - mean) / n).mean())
    spread = max(float(np.median(np.abs(rates - np.median(rates))) * 1.4826) ** 2 - sampling, 1e-4)
    strength = max(mean * (1 - mean) / spread - 1, 1.0)
    a, b = max(mean * strength, 1e-3), max((1 - mean) * strength, 1e-3)
    deviation = mean * (1 - mean) * n * (strength + n) / (strength + 1)  # variance of the beta-binomial
    z = np.abs(k - n * mean) / np.sqrt(np.maximum(deviation, 1e-12))
    tails = ndtr(-z)
    far = np.flatnonzero(z > 2)  # exact where it can matter: each costs O(n)
    tails[far] = [_beta_binomial_tail(int(x), int(m), a, b) for x, m in zip(k[far], n[far], strict=True)]
    p_values[enough] = np.minimum(1.0, 2 * tails)
    return p_values


def _beta_binomial_tail(k: int, n: int, a: float, b: float) -> float:
    """The smaller of P(X ≤ k) and P(X ≥ k), X beta-binomial."""
    x = np.arange(n + 1.0)
    log_p = gammaln(n + 1) - gammaln(x + 1) - gammaln(n - x + 1) + betaln(x + a, n - x + b) - betaln(a, b)
    p = np.exp(log_p)
    return float(min(p[: k + 1].sum(), p[k:].sum(), 1.0))
