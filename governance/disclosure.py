"""How many people are in a group, as far as that may be said: statistical disclosure control of frequency tables.

Four rules (the first two after Hundepool et al., *Statistical Disclosure Control*, 2012, chapter 4):

1. Threshold. A group of fewer than `least` people is hidden.
2. Complementary suppression. The hidden groups are two or more and have `least` people together, or the smallest shown
   one is hidden as well: the total less what is shown tells of no small group.
3. Bands, in exports. A shown number n is given as [11k, 11k + 10]; the difference between two exports is no number of
   people. Groups are hidden until, with the total known, at least `INTERNAL` numbers remain possible for each.
4. Steadiness, in exports. A table is published anew only after `EXPORTED` people came, left or moved: whoever knows who
   did between two exports does not read that person's group off the change.
"""

from collections.abc import Collection, Mapping
from typing import Any

EXPORTED = 11  # fewest people of a group in what leaves the project
INTERNAL = 5  # in reports that stay in it


def hidden(counts: Mapping[str, int], least: int) -> set[str]:
    """Groups that are not shown by rules 1 and 2."""
    found = {group for group, n in counts.items() if n < least}
    if found and (len(found) < 2 or sum(counts[g] for g in found) < least):
        found |= set(_smallest(counts, found)[:1])
    return found


def published(counts: Mapping[str, int], before: Mapping[str, Any] | None) -> dict[str, Any]:
    """One attribute's table for an export: `rows` may leave the project, `counts` (what rule 4 compares) may not.

    `before` is what this gave for the last table that was published.
    """
    if before and changed(counts, before["counts"]) < EXPORTED:
        return dict(before)
    return {"counts": dict(counts), "rows": _rows(counts)}


def changed(counts: Mapping[str, int], before: Mapping[str, int]) -> int:
    """At least so many people came, left or moved between two tables."""
    more = sum(max(0, n - before.get(g, 0)) for g, n in counts.items())
    fewer = sum(max(0, n - counts.get(g, 0)) for g, n in before.items())
    return max(more, fewer)


def band(n: int) -> tuple[int, int]:
    """The band that `n` lies in."""
    return n // EXPORTED * EXPORTED, n // EXPORTED * EXPORTED + EXPORTED - 1


def coarse(value: float | None, people: int) -> float | None:
    """A mean over some people to steps no finer than one over their number, and than a hundredth: what two such means over
    all and all but one tell of that one is no more than a side of the mean. None where nothing was measured."""
    if value is None:
        return None
    steps = max(1, min(100, people))
    return round(round(value * steps) / steps, 2)


def possible(total: int, shown: Collection[tuple[int, int]], unseen: int) -> list[tuple[int, int]]:
    """What each shown number can be for somebody who knows the total; `unseen` groups have one person or more each."""
    low, high = sum(b[0] for b in shown), sum(b[1] for b in shown)
    ranges = []
    for a, b in shown:
        least = a if unseen else max(a, total - (high - b))
        ranges.append((least, min(b, total - (low - a) - unseen)))
    return ranges


def _rows(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    gone, total = hidden(counts, EXPORTED), sum(counts.values())
    while shown := {g: band(n) for g, n in counts.items() if g not in gone}:
        if all(b - a + 1 >= INTERNAL for a, b in possible(total, list(shown.values()), len(gone))):
            break
        gone |= set(_smallest(counts, gone)[: 1 if gone else 2])
    rows: list[dict[str, Any]] = [{"group": g, "people": list(b)} for g, b in sorted(shown.items())]
    return rows + ([{"hidden_groups": len(gone)}] if gone else [])


def _smallest(counts: Mapping[str, int], without: Collection[str]) -> list[str]:
    return sorted((g for g in counts if g not in without), key=lambda g: (counts[g], g))
