"""Provenance of one stage: an in-toto statement (v1) with a SLSA provenance predicate (v1).

Subjects are what the stage made, resolved dependencies what it used, each by SHA-256; the build definition names the
stage, its parameters and the git commit, with the digest of the patch where the working tree had changes. Run
details name the MLflow run and the machine. A stage that was cached is told as what it was when it was made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:attestrl:stage:1"


@dataclass(frozen=True)
class StageFacts:
    """What is known of one execution: `parameters` are those that the stage reads, `machine` names and versions."""

    stage: str
    command: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    parameters: Mapping[str, Any]
    seed: int
    seconds: float
    git_commit: str
    mlflow_run_id: str
    packages_sha256: str | None = None
    patch_sha256: str | None = None
    machine: Mapping[str, str] | None = None


def statement(facts: StageFacts) -> dict[str, Any]:
    """The statement as JSON."""
    commit, _, changed = facts.git_commit.partition("+")
    source: dict[str, Any] = {"uri": "git", "digest": {"gitCommit": commit}}
    dependencies = [_resource(path, digest) for path, digest in sorted(facts.inputs.items())]
    if facts.packages_sha256:
        dependencies.append(_resource("requirements.lock", facts.packages_sha256))
    internal: dict[str, Any] = {"working_tree_changed": bool(changed)}
    if facts.patch_sha256:
        internal["patch_sha256"] = facts.patch_sha256
    return {
        "_type": STATEMENT,
        "subject": [_resource(path, digest) for path, digest in sorted(facts.outputs.items())],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"stage": facts.stage, "command": facts.command, "seed": facts.seed}
                | {"parameters": dict(facts.parameters)},
                "internalParameters": internal,
                "resolvedDependencies": ([source] if commit != "none" else []) + dependencies,
            },
            "runDetails": {
                "builder": {"id": "urn:attestrl:local"},
                "metadata": {"invocationId": facts.mlflow_run_id},
                "byproducts": [
                    {"name": "seconds", "annotations": {"seconds": facts.seconds}},
                    *([{"name": "machine", "annotations": dict(facts.machine)}] if facts.machine else []),
                ],
            },
        },
    }


def _resource(path: str, digest: str) -> dict[str, Any]:
    return {"name": path, "digest": {"sha256": digest}}
