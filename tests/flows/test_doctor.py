"""`attestrl doctor`: what is missing on this machine, and how to get it."""

import json
from pathlib import Path
from typing import Any

from tests.typed import attestrl


def findings(folder: Path, *, code: int, **environment: str) -> dict[str, dict[str, Any]]:
    done = attestrl(folder, "doctor", "--json", **environment)
    assert done.returncode == code, done.stderr
    return {f["what"]: f for f in json.loads(done.stdout)}


def test_what_is_missing_is_named_with_what_to_do(empty_project: Path) -> None:
    """A folder outside git, without the shipped model, whose Prefect server is down."""
    found = findings(empty_project, code=3, PREFECT_API_URL="http://127.0.0.1:9/api", GIT_CEILING_DIRECTORIES="/")
    wrong = {what for what, f in found.items() if not f["ok"]}
    assert wrong == {"git", "base model", "orchestrator"}
    assert "unset PREFECT_API_URL" in found["orchestrator"]["do"]
    assert all(bool(f["do"]) is not f["ok"] for f in found.values())


def test_a_wrong_parameters_file_is_named(empty_project: Path) -> None:
    file = empty_project / "params.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("kl_coef: 0.05", "kl_coef: -1"), encoding="utf-8")
    found = findings(empty_project, code=3)["params.yaml"]
    assert not found["ok"] and "ppo.kl_coef" in found["found"] and found["do"] == "correct it"
