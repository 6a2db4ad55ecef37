"""What may leave the project of a report on annotators: nothing of few people, in one export or in the difference of two.

Whoever has two exports and knows who left between them could subtract: an exact mean over n people and one over n - 1 give
that person's own figure, and a count of accused people that is one lower says that this person was accused. So of real
people an export says how many are accused in bands of eleven, means to steps no finer than 1/n, so that a difference tells
at most on which side of the mean somebody was, and leaves out everything else that is counted by people or weighted by
them. Simulated annotators are nobody; figures of them alone stay as they are.
"""

from typing import Any

from governance import disclosure

_AS_IT_IS = ("votes", "annotators", "items", "golden_votes", "simulated", "method", "settings")


def exported(summary: dict[str, Any]) -> dict[str, Any]:
    """A report's summary as it may be exported; `flagged` is [at least, at most] where the people are real."""
    topics = [
        {k: v for k, v in row.items() if k in ("topic", "members")} if row["members"] >= disclosure.EXPORTED else
        {"topic": row["topic"], "members": None}
        for row in summary.get("disagreements", [])
    ]  # fmt: skip
    more = {"disagreements": topics} if topics else {}
    people = summary["annotators"]
    simulated = summary.get("simulated_annotators", 0)  # without votes nothing is said of them
    if simulated == people:
        return {k: v for k, v in summary.items() if k != "demographics"} | more
    low, high = disclosure.band(summary["flagged"])
    flagged = [low, min(high, people)]
    who = f"{people} annotators" + (f" ({simulated} simulated)" if simulated else "")
    text = f"{who} gave {summary['votes']} votes; {flagged[0]} to {flagged[1]} of them are not to be trusted."
    if not summary["golden_votes"]:
        text += " No golden item is among the votes, so the golden audit says nothing."
    return {
        "summary": text,
        **{k: summary[k] for k in _AS_IT_IS if k in summary},
        "flagged": flagged,
        "mean_reliability": disclosure.coarse(summary["mean_reliability"], people),
        "agreement": _coarse(summary.get("agreement"), people),
        **more,
    }


def _coarse(value: Any, people: int) -> Any:
    """Every figure in it to steps that tell of no single person."""
    if isinstance(value, dict):
        return {k: _coarse(v, people) for k, v in value.items()}
    return disclosure.coarse(value, people) if isinstance(value, float) else value
