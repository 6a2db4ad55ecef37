"""Findings in words: a row an annotator with flag, weight, action and reason, the most suspect first."""

from typing import Any

import numpy as np
import polars as pl

from tasks.annotator_findings import Findings
from tasks.polls import Poll
from tasks.stats.suspicion import WAYS

LEAST_WEIGHT = 0.05  # an annotator who is not flagged keeps a little say
TAKES = {
    "position": "takes the first response",
    "length": "takes the longer response",
    "formatting": "takes the response with more formatting",
    "confirmation": "takes the response that agrees with the prompt",
    "constant": "takes response a",
    "undecided": "chooses neither response",
}
SHARES = TAKES | {"night": "votes between midnight and five"}
ACTIONS = ("weight", "human review", "quarantine")


def table(found: Findings, poll: Poll) -> pl.DataFrame:
    """annotator_id, flag, score, weight, reason, action, then every figure behind them."""
    n = len(poll.annotators)
    review = _review(found)
    action = np.where(found.flag, ACTIONS[2], np.where(review, ACTIONS[1], ACTIONS[0]))
    nothing = np.full(n, np.nan)
    columns: dict[str, Any] = {
        "annotator_id": poll.annotators,
        "flag": found.flag,
        "score": found.log_odds,
        "weight": np.where(found.flag, 0.0, np.clip(2 * found.low - 1, LEAST_WEIGHT, 1.0)),
        "reason": _reasons(found, poll, review),
        "action": action,
        "n_votes": found.ballots.per_annotator(),
        "reliability": found.reliability,
        "low": found.low,
        "high": found.high,
        "n_golden": found.golden.votes,
        "golden_correct": found.golden.right,
        "golden_decided_at": found.golden.sequential.decided_at if found.golden.sequential else np.zeros(n, dtype=int),
        "agreement": found.agreement,
        "left_out": found.left_out,
        "one_coin": found.one_coin,
        "right_on_one": found.two_coin.right_on_one,
        "right_on_zero": found.two_coin.right_on_zero,
        **{
            f"takes_{name}" if name in TAKES else name: np.where(k.known > 0, k.follows, np.nan)
            for name, k in found.habits.leanings.items()
        },
        "seconds_per_vote": found.habits.timing.gap if found.habits.timing else nothing,
        "overconfidence": found.habits.calibration.overconfidence if found.habits.calibration else nothing,
        "group": found.collusion.group,
        "simulated": poll.simulated,
    }
    frame = pl.DataFrame(columns).with_columns(pl.col(pl.Float64).fill_nan(None))
    return frame.sort("score", descending=True, maintain_order=True)


def _review(found: Findings) -> np.ndarray:
    """(annotators,) bool: not flagged, but a person should look."""
    noted = (
        found.habits.fast
        | found.habits.tiring
        | found.habits.regular
        | found.habits.always_sure
        | found.habits.drifting
    )
    for leaning in found.habits.leanings.values():
        noted = noted | leaning.unusual
    for group in found.suspicion.groups:
        noted = noted | group.members
    return ~found.flag & (noted | (found.judged & (found.log_odds > 0)))


def _reasons(found: Findings, poll: Poll, review: np.ndarray) -> list[str]:
    plain = np.where(found.judged, "nothing against", "too few votes to judge").astype(object)
    for k in np.flatnonzero(found.flag | review):
        plain[k] = "; ".join(_against(found, poll, int(k)) + _noted(found, poll, int(k)))
    return plain.tolist()


def _against(found: Findings, poll: Poll, k: int) -> list[str]:
    """What an annotator is flagged for."""
    said = []
    if found.unreliable[k]:
        said.append(_way(found, poll, k))
    if found.collusion.group[k] >= 0:
        c = found.collusion
        said.append(
            f"answers like the others of group {c.group[k]} beyond what careful people do "
            f"(with one of them, {c.agreed[k]} of {c.shared[k]} shared items alike)"
        )
    if found.golden.failed[k]:
        when = found.golden.sequential.decided_at[k] if found.golden.sequential else 0
        early = f", told after {when}" if when else ""
        said.append(f"right on {found.golden.right[k]} of {found.golden.votes[k]} golden items only{early}")
    return said


def _way(found: Findings, poll: Poll, k: int) -> str:
    way = WAYS[int(np.argmax(found.suspicion.ways[k]))]
    follows = found.habits.leanings[way].follows[k] if way in found.habits.leanings else 0.0
    (changed, _), (_, began), lapsed = np.rint(found.suspicion.stretch[k] * float(found.informative[k])).astype(int)
    unread = "answered like a coin or the other way round"
    topic = poll.topics[found.suspicion.target[k]] if way == "topic" else ""
    golden = found.golden
    return {
        "guesses": f"agrees with the others hardly more than guessing would (right on about {found.reliability[k]:.0%})",
        "inverts": f"answers the other way round (right on about {found.reliability[k]:.0%})",
        "position": f"takes the response shown first in {follows:.0%} of votes, whatever the item",
        "length": f"takes the longer response in {follows:.0%} of votes, whatever the item",
        "formatting": f"takes the response with more formatting in {follows:.0%} of votes, whatever the item",
        "confirmation": f"takes the response that agrees with the prompt in {follows:.0%} of votes, whatever the item",
        "constant": f"answers a in {follows:.0%} of votes, whatever the item",
        "changed": f"read until about vote {changed}, and then {unread}",
        "began": f"{unread} until about vote {began}, and read from then on",
        "lapsed": f"{unread} from about vote {lapsed[0]} to {lapsed[1]}, and read before and after",
        "topic": f"answers the topic {topic!r} the other way round, and others well",
        "knows golden": f"knows the golden items: right on {golden.right[k]} of {golden.votes[k]}, unreliable on others",
    }[way]


def _noted(found: Findings, poll: Poll, k: int) -> list[str]:
    """What a person should look at, and is no proof."""
    said = []
    if found.habits.fast[k] and found.habits.timing is not None:
        said.append(f"votes every {found.habits.timing.gap[k]:.0f} s, faster than people here do")
    if found.habits.tiring[k]:
        said.append("gets worse within a session")
    if found.habits.regular[k]:
        said.append("answers follow a pattern of their own, not the items")
    if found.habits.always_sure[k] and found.habits.calibration is not None:
        said.append(
            f"is always sure, unlike the crowd (confidence {found.habits.calibration.overconfidence[k]:+.0%} over what is right)"
        )
    if found.habits.drifting[k] and found.habits.calibration is not None:
        said.append(
            f"confidence over what is right moved by {found.habits.calibration.drift[k]:+.0%} from earlier to later votes"
        )
    for name, leaning in found.habits.leanings.items():
        if leaning.unusual[k] and not found.unreliable[k]:
            said.append(f"{SHARES[name]} in {leaning.follows[k]:.0%} of votes, unlike the crowd")
    for group in found.suspicion.groups:
        if group.members[k]:
            view = "agree among themselves and not with the others"
            if group.topic is not None:
                view = f"see the topic {poll.topics[group.topic]!r} differently"
            said.append(f"one of {group.members.sum()} who {view}")
    if not said and not found.flag[k]:
        said.append(f"suspect, but not surely enough ({_way(found, poll, k)})")
    return said
