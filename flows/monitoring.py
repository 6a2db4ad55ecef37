"""`attestrl monitor`: counts each logged response of a released policy once, watches its series for drift, raises alarms.

An alarm is in the store in the same transaction as the readings that raised it; then it goes into the ledger, may open
an incident, and is emitted as a Prefect event. What a killed call left undone, the next one does.
"""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from flows import alarms, evaluation, listing, sealing
from governance.decision import current_actor
from governance.digest import sha256_bytes, sha256_path
from governance.entry import Event
from governance.errors import BadInput
from tasks import lineage, metrics_file, operating_params, params, paths, pseudonyms
from tasks.drift import Watch
from tasks.logs import Interaction, read_log
from tasks.monitor_series import EVENTS, SERIES, Meter, Yardstick
from tasks.monitor_store import Keys, MonitorStore, Reading
from tasks.progress import bar

DAY = 86_400.0
YEAR = 365 * DAY
CHUNK = 5000  # responses at most that a killed call has to measure again
LATEST = 500  # responses behind the latest mean


def monitor(logs: Sequence[Path], run_id: str | None, metrics: Path | None) -> dict[str, Any]:
    """Read logs of a run's policy; how its series stand, with the alarms that this call raised. Raises BadInput before
    anything is counted if a line of a log is broken."""
    lengths = [sum(1 for _ in read_log(log)) for log in logs]
    settings = params.load(paths.PARAMS)
    record = _record(run_id)
    lineage.connect(record["project"])
    home = paths.home() / "monitor"
    home.mkdir(parents=True, exist_ok=True)
    policy = record["policy"]["sha256"]
    with FileLock(home / ".lock"):
        store = MonitorStore(home / "monitor.sqlite")
        reader = _Reader(store, record, settings)
        with bar(sum(lengths), "monitor", "response") as progress:
            for log in logs:
                for chunk in _chunks(log, reader.times):
                    reader.count(chunk)
                    progress.update(len(chunk))
        actor = current_actor()
        _log_reading(record, logs, reader, actor)
        notes = alarms.deliver(store, settings.monitor.incident, actor)
        if reader.counted or reader.raised:
            sealing.seal(actor)
        found = _standing(store, record, settings.monitor, reader)
        metrics_file.write(metrics or home / "attestrl.prom", policy=policy, **found)
    return found | {"alarms": reader.raised, "notes": notes}


def _record(run_id: str | None) -> dict[str, Any]:
    from flows import containment

    made = (r["run_id"] for r in listing.runs() if r.get("policy"))
    record = listing.load(run_id or containment.affected(None).get("run_id") or next(made, "latest"))
    if not record.get("policy"):
        raise BadInput(f"{record['run_id']}: made no policy; name the run whose policy answered with --run.")
    return record


class Times:
    """Times of responses: those of the log, or as many a day as configured, from the latest known on."""

    def __init__(self, latest: float, responses_per_day: float) -> None:
        self.latest = latest
        self._step = DAY / responses_per_day

    def of(self, interaction: Interaction) -> float:
        """Unix seconds."""
        at = interaction.at if interaction.at is not None else self.latest + self._step
        self.latest = max(self.latest, at)
        return at


Chunk = list[tuple[Interaction, bytes, float]]


def _chunks(log: Path, times: Times) -> Iterator[Chunk]:
    """Consecutive responses of one UTC day, at most CHUNK, each with its key and time."""
    keys = Keys(pseudonyms.key())
    chunk: Chunk = []
    for interaction in read_log(log):
        at = times.of(interaction)
        if chunk and (at // DAY != chunk[-1][2] // DAY or len(chunk) == CHUNK):
            yield chunk
            chunk = []
        chunk.append((interaction, keys.of(interaction), at))
    if chunk:
        yield chunk


class _Reader:
    """Counts chunks of responses of one policy."""

    def __init__(self, store: MonitorStore, record: dict[str, Any], settings: params.Params) -> None:
        self._store, self._record, self._settings = store, record, settings
        self.policy: str = record["policy"]["sha256"]
        self.watches, self.total, latest = store.load(self.policy)
        self.times = Times(latest, settings.monitor.responses_per_day)
        self._latest = latest
        self._meter: Meter | None = None
        self.counted = 0
        self.span: tuple[float, float] = (np.inf, -np.inf)
        self.raised: list[dict[str, Any]] = []

    @property
    def limit(self) -> float:
        """Years of evidence at which a series raises its alarm."""
        return len(SERIES) / self._settings.monitor.false_alarms_per_year

    def count(self, chunk: Chunk) -> None:
        """Measure what is new in a chunk, watch it, and commit."""
        known = self._store.known(self.policy, [key for _, key, _ in chunk])
        new = {key: (interaction, at) for interaction, key, at in chunk if key not in known}
        if not new:
            return
        self._meter = self._meter or _meter(self._record, self._settings)
        values = self._meter.measure([interaction for interaction, _ in new.values()])
        rng = np.random.default_rng([self._settings.seed, self.total])
        # In a day the order is drawn, so that the daily round of traffic is no drift; times stay in order.
        order = rng.permutation(len(new))
        at = np.sort([at for _, at in new.values()])
        years = np.diff(np.maximum.accumulate(np.r_[self._latest or at[0], at])) / YEAR
        found = []
        for name in (n for n in SERIES if n in values):
            watch = self.watches.setdefault(name, Watch(name in EVENTS, self._settings.monitor.reference))
            theta = rng.random(len(new))
            for alarm in watch.read(values[name][order], years, at, theta, self.limit):
                found.append((alarm.index, name, alarm))
        keys = list(new)
        readings = [
            Reading(keys[i], float(at[k]), {n: float(values[n][i]) for n in SERIES if n in values})
            for k, i in enumerate(order)
        ]
        raised = [self._alarm(name, alarm, readings) for _, name, alarm in sorted(found, key=lambda f: f[:2])]
        self._store.commit(self.policy, readings, self.watches, raised)
        self.raised += raised
        self.total += len(new)
        self.counted += len(new)
        self._latest = max(self._latest, float(at[-1]))
        self.span = (min(self.span[0], float(at[0])), max(self.span[1], float(at[-1])))

    def _alarm(self, name: str, alarm: Any, readings: list[Reading]) -> dict[str, Any]:
        """An alarm in words and figures. Before and after are told apart at the estimated beginning of the drift; as the
        order in a day was drawn, that is known to the day, and the alarm to the end of what was read."""
        times, figures = self._store.figures(self.policy)
        column = [n for n in SERIES if n in readings[0].figures].index(name)
        earlier = figures[:, column] if len(figures) else np.empty(0)
        so_far = readings[: alarm.index + 1]
        values = np.r_[earlier, [r.figures[name] for r in so_far]]
        when = np.r_[times, [r.at for r in so_far]]
        after = when > alarm.since
        after[-1] = True
        before, now = values[~after], values[after]
        before = before if len(before) > 1 else values[: self._settings.monitor.reference]
        spread = float(before.std()) or 1.0
        number = self.total + alarm.index + 1
        facts = {
            "series": name,
            "at": _iso(readings[-1].at),
            "since": _iso(alarm.since)[:10],
            "before": round(float(before.mean()), 6),
            "after": round(float(now.mean()), 6),
            "shift_sd": round(float(now.mean() - before.mean()) / spread, 3),
            "responses": len(now),
            "bet": alarm.bet,
        }
        digest = sha256_bytes(f"{self.policy} {name} {number}".encode())[:12]
        sentence = (
            f"{name} drifted by {facts['shift_sd']:+.2f} σ, from {facts['before']:.4g} to {facts['after']:.4g} over "
            f"{len(now)} responses since {facts['since']}."
        )
        ids = {"alarm_id": f"alarm-{digest}", "run_id": self._record["run_id"], "policy": self.policy}
        return ids | facts | {"sentence": sentence}


def _meter(record: dict[str, Any], settings: params.Params) -> Meter:
    digests = evaluation.digests_of(record)
    scorers = {name: evaluation.model_of_run(folder, digests) for name, folder in evaluation.SCORERS.items()}
    folder = paths.home() / "monitor" / record["policy"]["sha256"]
    yardstick = Yardstick.load(folder)
    if yardstick is None:
        yardstick = Yardstick.of(evaluation.bench_of(record, settings, rated=False))
        yardstick.save(folder)
    return Meter(yardstick, scorers)


def _log_reading(record: dict[str, Any], logs: Sequence[Path], reader: _Reader, actor: str) -> None:
    if reader.counted:
        digests = {"policy": reader.policy} | {f"log {k}": sha256_path(log) for k, log in enumerate(logs, start=1)}
        first, last = (_iso(at) for at in reader.span)
        data = {"counted": reader.counted, "first": first, "last": last}
        sealing.ledger().append(
            Event.MONITORED, run_id=record["run_id"], actor=actor, subject_digests=digests, data=data
        )


def _standing(
    store: MonitorStore, record: dict[str, Any], settings: operating_params.Monitor, reader: _Reader
) -> dict[str, Any]:
    """How every series stands; figures are null until there are any."""
    _, latest = store.figures(reader.policy, max(0, reader.total - LATEST))
    raised = [a["series"] for a in store.alarms(reader.policy)]
    series = []
    for k, name in enumerate(n for n in SERIES if n in reader.watches):
        watch = reader.watches[name]
        learnt = watch.past.total >= settings.reference
        series.append(
            {
                "series": name,
                "reference": watch.past.mean if learnt else None,
                "latest": float(latest[:, k].mean()),
                "evidence": watch.detector.evidence if learnt else 0.0,
                "alarms": raised.count(name),
            }
        )
    return {
        "run_id": record["run_id"],
        "counted": reader.counted,
        "total": reader.total,
        "limit": reader.limit,
        "read_at": round(time.time(), 1),
        "series": series,
    }


def _iso(at: float) -> str:
    return datetime.fromtimestamp(float(at), UTC).isoformat(timespec="seconds")
