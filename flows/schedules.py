"""Schedules of `prefect.yaml`, and the slots at which nobody was there to run.

A slot is a time at which a schedule says that a run starts. Which slots there were is computed from the schedule as it
was written into the ledger when it was first served, so that a machine that was off finds out what it missed. What
follows is the schedule's policy, `parameters: {catch_up: …}`: `none` (it is only recorded), `latest` (one run for all
missed slots, the default) or `all` (a run for each).
"""

import asyncio
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from governance.causes import Cause, answered
from governance.entry import Event
from governance.errors import BadInput
from governance.history import Readable
from governance.ledger import Log

FILE = Path("prefect.yaml")
LATE = timedelta(seconds=60)  # a run that starts later than this after its slot is late
POLICIES = ("none", "latest", "all")
ANCHOR = "2020-01-01T00:00:00"  # from where intervals are counted, in the schedule's time zone
_AT_ONCE = 1000  # slots that Prefect computes in one call

Policy = Literal["none", "latest", "all"]


@dataclass(frozen=True)
class Plan:
    """One schedule: exactly one of `cron` and `interval` (seconds) is given."""

    cron: str | None
    interval: float | None
    anchor: str
    timezone: str
    parameters: dict[str, Any]

    @property
    def catch_up(self) -> Policy:
        """What follows from a missed slot."""
        return cast(Policy, self.parameters.get("catch_up", "latest"))

    def as_prefect(self) -> Any:
        """The schedule as Prefect has it."""
        from prefect.schedules import Cron, Interval

        if self.cron:
            return Cron(self.cron, timezone=self.timezone, parameters=self.parameters)
        seconds = timedelta(seconds=self.interval or 0)
        return Interval(seconds, anchor_date=self._anchor(), timezone=self.timezone, parameters=self.parameters)

    def slots(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Every slot in (after, until], by Prefect's own arithmetic: time zones and daylight saving included."""
        from prefect.server.schemas.schedules import CronSchedule, IntervalSchedule

        schedule: Any
        if self.cron:
            schedule = CronSchedule(cron=self.cron, timezone=self.timezone)
        else:
            seconds = timedelta(seconds=self.interval or 0)
            schedule = IntervalSchedule.model_validate(
                {"interval": seconds, "anchor_date": self._anchor(), "timezone": self.timezone}
            )
        start = after + timedelta(microseconds=1)
        while start <= until:
            found = asyncio.run(schedule.get_dates(_AT_ONCE, start, until))
            for slot in found:
                yield datetime.fromtimestamp(slot.timestamp(), UTC)
            if len(found) < _AT_ONCE:
                return
            start = datetime.fromtimestamp(found[-1].timestamp(), UTC) + timedelta(microseconds=1)

    def _anchor(self) -> datetime:
        given = datetime.fromisoformat(self.anchor)
        return given if given.tzinfo else given.replace(tzinfo=ZoneInfo(self.timezone))

    def __str__(self) -> str:
        return f"{self.cron or f'every {self.interval:g} s'} ({self.timezone})"


def read_plan(raw: dict[str, Any], where: str) -> Plan:
    """A schedule as `prefect.yaml` has it. Raises BadInput for one that nobody could keep."""
    cron, interval = raw.get("cron"), raw.get("interval")
    if (cron is None) == (interval is None):
        raise BadInput(f"{where}: give exactly one of cron and interval (seconds).")
    zone, parameters = str(raw.get("timezone") or "UTC"), dict(raw.get("parameters") or {})
    if (policy := parameters.get("catch_up", "latest")) not in POLICIES:
        raise BadInput(f"{where}: catch_up {policy}: is none of {', '.join(POLICIES)}.")
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise BadInput(f"{where}: timezone {zone}: is no time zone, as in Europe/Vienna.") from None
    anchor = str(raw.get("anchor_date") or ANCHOR)
    try:
        datetime.fromisoformat(anchor)
    except ValueError:
        raise BadInput(f"{where}: anchor_date {anchor}: is no time in ISO 8601.") from None
    if cron is not None:
        _check_cron(str(cron), where)
        return Plan(str(cron), None, anchor, zone, parameters)
    if isinstance(interval, bool) or not isinstance(interval, int | float) or interval <= 0:
        raise BadInput(f"{where}: interval {interval}: is not a number of seconds above 0.")
    return Plan(None, float(interval), anchor, zone, parameters)


def _check_cron(cron: str, where: str) -> None:
    from cronsim import CronSim, CronSimError

    try:
        CronSim(cron, datetime.now())
    except CronSimError:
        raise BadInput(f"{where} {cron!r}: is not a cron expression, as in '0 3 * * 1' for Mondays at three.") from None


def record(ledger: Log, plans: list[Plan], actor: str) -> bool:
    """Write the schedules into the ledger if they are others than before, and say whether they are: slots are owed from
    then on."""
    wanted = [asdict(p) for p in plans]
    kept = None
    for e in ledger.entries():
        if e.type == Event.SCHEDULE_SET:
            kept = e.data["schedules"]
    changed = kept != wanted and bool(wanted or kept)
    if changed:
        ledger.append(Event.SCHEDULE_SET, run_id="", actor=actor, subject_digests={}, data={"schedules": wanted})
    return changed


def note_missed(ledger: Log, history: Readable, now: datetime) -> bool:
    """Record the slots that passed without a run, each outage in one entry that says for which slots runs follow; says
    whether there were any."""
    if next(_missed(history, now), None) is None:
        return False
    with ledger.batch() as add:
        for plan, slots in _missed(history, now):  # asked anew: another scheduler may have been here
            owed: dict[Policy, list[datetime]] = {"none": [], "latest": slots[-1:], "all": slots}
            data = {
                "schedule": str(plan),
                "catch_up": plan.catch_up,
                "slots": len(slots),
                "first": _text(slots[0]),
                "last": _text(slots[-1]),
                "owed": [_text(s) for s in owed[plan.catch_up]],
            }
            add(Event.SLOT_MISSED, run_id="", actor="attestrl", subject_digests={}, data=data)
    return True


def owed(ledger: Readable) -> list[Cause]:
    """Missed slots for which a run is to start, whether it has or not."""
    found = []
    for e in ledger.entries():
        if e.type == Event.SLOT_MISSED:
            details = {"missed": e.data["slots"], "since": e.data["first"], "catch_up": e.data["catch_up"]}
            found += [Cause("schedule", {"slot": slot}, details) for slot in e.data["owed"]]
    return found


def slot_cause(slot: datetime, catch_up: str) -> Cause:
    """The cause that a slot is; schedules that meet at one time start one run."""
    return Cause("schedule", {"slot": _text(slot.astimezone(UTC))}, {"catch_up": catch_up})


def is_missed(ledger: Readable, slot: datetime) -> bool:
    """Whether a slot was recorded as missed and no run is owed for it."""
    text = _text(slot.astimezone(UTC))
    entries = [e.data for e in ledger.entries() if e.type == Event.SLOT_MISSED]
    return any(d["first"] <= text <= d["last"] for d in entries) and not any(text in d["owed"] for d in entries)


def _missed(ledger: Readable, now: datetime) -> Iterator[tuple[Plan, list[datetime]]]:
    """Slots of each schedule that passed `LATE` ago, are in no entry, and have no run."""
    plans: list[Plan] = []
    since: datetime | None = None
    seen: dict[str, datetime] = {}
    for e in ledger.entries():
        if e.type == Event.SCHEDULE_SET:
            plans, since = [Plan(**p) for p in e.data["schedules"]], datetime.fromisoformat(e.ts)
        elif e.type == Event.SLOT_MISSED:
            last = datetime.fromisoformat(e.data["last"])
            seen[e.data["schedule"]] = max(last, seen.get(e.data["schedule"], last))
    if since is None:
        return
    done = answered(ledger)
    for plan in plans:
        after = max(since, seen.get(str(plan), since))
        slots = [s for s in plan.slots(after, now - LATE) if slot_cause(s, "").digest not in done]
        if slots:
            yield plan, slots


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
