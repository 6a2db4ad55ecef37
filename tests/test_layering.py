"""Imports go one way: flows → tasks → governance; tasks.rlhf, tasks.stats and governance import none of the others."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
METHODS = [p.stem for p in (ROOT / "tasks/methods").glob("*.py") if p.stem not in ("__init__", "interface")]
PROTOCOLS = [
    p.stem for p in (ROOT / "tasks/oversight").glob("*.py") if "\nPROTOCOL = " in p.read_text(encoding="utf-8")
]
NAMED = {"${method}": METHODS, "${oversight.protocol}": PROTOCOLS}  # what params.yaml fills in in dvc.yaml


def filled(dep: str) -> list[str]:
    """A path of dvc.yaml, with every file that params.yaml can name in it."""
    for key, names in NAMED.items():
        if key in dep:
            return [dep.replace(key, name) for name in names]
    return [dep]


FORBIDDEN = {
    "governance": ("flows", "tasks", "torch", "prefect", "mlflow", "transformers"),
    "tasks/rlhf": ("flows", "governance", "tasks"),
    "tasks/stats": ("flows", "governance", "tasks"),
    "tasks": ("flows", "prefect"),
}


def imported(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{a.name}" for a in node.names}
    return names


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_go_one_way(folder: str) -> None:
    own = folder.replace("/", ".")
    for file in (ROOT / folder).rglob("*.py"):
        for name in imported(file):
            if name == own or name.startswith(own + "."):
                continue
            for forbidden in FORBIDDEN[folder]:
                assert name != forbidden and not name.startswith(forbidden + "."), f"{file}: {name}"


def test_no_stage_names_a_device() -> None:
    """accelerate's configuration does."""
    for file in (ROOT / "tasks").rglob("*.py"):
        found = re.search(r"\.cuda\(\)|(?:to\(|device=)[\"']", file.read_text(encoding="utf-8"))
        assert not found, f"{file}: {found and found.group()}"


def test_every_stage_has_a_file_and_an_entry() -> None:
    import yaml

    from tasks.paths import STAGES

    entries = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert tuple(entries) == STAGES
    for name in STAGES:
        assert entries[name]["cmd"] == f"python -m tasks.{name}"
        for path in (d for d in entries[name]["deps"] if d.startswith("tasks/")):
            for file in filled(path):
                assert (ROOT / file).exists(), file


def test_every_protocol_can_be_chosen() -> None:
    from tasks.oversight.protocol import configured
    from tasks.params import load

    settings = load(ROOT / "params.yaml").oversight
    for name in PROTOCOLS:
        chosen = settings.model_validate(settings.model_dump() | {"protocol": name})
        assert callable(configured(chosen.protocol).made(chosen))


@pytest.mark.parametrize(
    "stage", ["ingest", "validate", "annotators", "poisoning", "curate", "base", "sft", "reward", "ppo", "evaluate"]
)
def test_deps_name_the_code_that_is_used(stage: str) -> None:
    """Every project module that a stage imports, directly or not, is in its deps, so that a change re-runs it."""
    import yaml

    around = {"tasks.stage", "tasks.lineage", "tasks.params", "tasks.paths", "tasks.environment", "tasks.progress"}
    around |= {
        "tasks.launcher",
        "tasks.tracked",
        "tasks.param_types",
        "tasks.evaluation_params",
        "tasks.operating_params",
        "tasks.training_params",
        "tasks.yaml_reader",
    }
    deps = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][stage]["deps"]
    deps = [file for dep in deps for file in filled(dep)]
    seen: set[str] = set()
    todo = [f"tasks.{stage}", *(f"tasks.methods.{method}" for method in METHODS if stage == "ppo")]
    todo += [f"tasks.oversight.{protocol}" for protocol in PROTOCOLS if stage == "reward"]
    while todo:
        module = todo.pop()
        file = ROOT / (module.replace(".", "/") + ".py")
        if module in seen or module in around or not file.is_file():
            continue
        seen.add(module)
        todo += [n for n in imported(file) if n.startswith("tasks.")]
        todo += [n.rpartition(".")[0] for n in imported(file) if n.startswith("tasks.")]
        relative = file.relative_to(ROOT).as_posix()
        assert any(relative == d or relative.startswith(d + "/") for d in deps), f"{stage}: {relative} is not in deps"
