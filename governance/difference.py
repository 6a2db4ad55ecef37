"""What changed between two runs, from their records: parameters, inputs, outputs, figures, packages, verdict."""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from governance.errors import BadInput

_PIN = re.compile(r"^([A-Za-z0-9][^=\s]*)==([^\s;]+)", re.MULTILINE)
_BESIDE = {"run_id", "records", "next", "seconds", "stages", "metrics", "gate", "policy", "schema", "mlflow_run_id"}


@dataclass(frozen=True)
class Change:
    """One difference: `before` or `after` is None where the run has nothing of the name."""

    what: str
    name: str
    before: Any
    after: Any

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)

    def sentence(self) -> str:
        """For a person."""
        if self.before is None:
            return f"{self.what} {self.name}: new, {_short(self.after)}"
        if self.after is None:
            return f"{self.what} {self.name}: gone, was {_short(self.before)}"
        return f"{self.what} {self.name}: {_short(self.before)} → {_short(self.after)}"


def difference(before: Path, after: Path) -> list[Change]:
    """Differences between the runs whose records are in two folders, in the order in which they cause one another."""
    a, b = (dict(_facts(folder)) for folder in (before, after))
    names = [*a, *(name for name in b if name not in a)]
    return [
        Change(*name, a.get(name), b.get(name))
        for what in ("commit", "package", "parameter", "input", "dataset", "output", "figure", "run")
        for name in names
        if name[0] == what and a.get(name) != b.get(name)
    ]


def _facts(folder: Path) -> Iterator[tuple[tuple[str, str], Any]]:
    """Everything that is compared, by kind and name."""
    run = _json(folder / "run.json")
    for name, value in run.items():
        if name not in _BESIDE:
            yield ("run", name), value
    yield ("run", "verdict"), run["gate"]["verdict"]
    yield ("run", "reasons of the gate"), run["gate"]["reasons"]
    for stage in run["stages"]:
        for output in stage["outputs"]:
            if not output["path"].startswith("data/reports/"):
                yield ("output", output["path"]), output["sha256"]
    for name, figure in run["metrics"].items():
        yield ("figure", name), figure
    yield from ((("parameter", name), value) for name, value in _flat(_yaml(folder / "params.yaml")))
    lock = folder / "requirements.lock"
    for name, version in _PIN.findall(lock.read_text(encoding="utf-8")) if lock.is_file() else ():
        yield ("package", name), version
    for file in sorted((folder / "stages").glob("*.json")):
        record = _json(file)
        yield ("commit", f"of stage {record['stage']}"), record.get("git_commit")
        for path, digest in record["inputs"].items():
            if path.startswith("data/raw/") or not path.startswith("data/"):
                yield ("input", path), digest
    for file in sorted(folder.glob("datasheet-*.json")):
        sheet = _json(file)
        yield ("dataset", f"{sheet['dataset']['name']} (rows)"), sheet["dataset"]["rows"]
        yield ("dataset", f"{sheet['dataset']['name']} (topics missing)"), sheet["counts"]["missing"]


def _flat(section: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in section.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _json(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise BadInput(f"{file}: is not JSON, so it was changed after its run; restore it.") from None
    return content


def _yaml(file: Path) -> dict[str, Any]:
    import yaml

    return dict(yaml.safe_load(file.read_text(encoding="utf-8")) or {}) if file.is_file() else {}


def _short(value: Any) -> str:
    if isinstance(value, dict) and {"value", "low", "high"} <= value.keys():
        if value["value"] is None:
            return "not measured"
        interval = "" if value["low"] is None else f" [{value['low']:.4f}, {value['high']:.4f}]"
        return f"{value['value']:.4f}{interval}"
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{40,64}(\+changes)?", value):
        return value[:12] + ("+changes" if value.endswith("+changes") else "")
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else str(value)
