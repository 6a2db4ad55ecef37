"""The record that every evaluation gives: a figure with its interval, and the bytes of data and models it came from."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Result:
    """One figure.

    `low`, `high`: interval at `level`; `n`: independent items behind it; `slice`: the part of the data, None for the
    whole; `data`, `models`: SHA-256 by name.
    """

    metric: str
    value: float
    low: float
    high: float
    n: int
    slice: str | None
    level: float
    seed: int
    data: dict[str, str]
    models: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


@dataclass(frozen=True)
class Finding:
    """Something that a person should see. `severity`: 2 an alarm, 1 a warning, 0 worth knowing; `examples`: rows of
    texts and figures by column."""

    severity: int
    title: str
    means: str
    examples: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Curve:
    """Lines of (x, y) points by name."""

    title: str
    x: str
    y: str
    lines: dict[str, list[tuple[float, float]]]


@dataclass(frozen=True)
class ForReview:
    """Something for people to judge: one response to rate, or several to rank. `priority` orders the queue, highest
    first; `gold`: index of the response that is known to be better, None where nobody knows."""

    prompt: list[dict[str, str]]
    responses: list[str]
    why: str
    priority: float
    gold: int | None = None


@dataclass
class Outcome:
    """What one evaluation gives; `notes` say what it left out, and why; `outputs`: figures of single responses."""

    results: list[Result] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    review: list[ForReview] = field(default_factory=list)
    outputs: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)
