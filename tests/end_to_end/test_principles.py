"""What models prefer in the pipeline, by principles and by an oversight protocol: in the pairs, on the cards and in the evidence."""

import json
import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from governance.digest import sha256_path
from tests.end_to_end.conftest import Project, copied, made

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.xdist_group("pipeline")]
LIST = "data/raw/mine/principles.yaml"
ENTRY = "- {{id: {0}, text: {1}, source: own, reason: it is tested, approved_by: {2}}}\n"
SIZES = {"revisions": 6, "pairs": 24, "audit": 12, "max_tokens": 400, "max_new_tokens": 8}
ON = [part for name, n in SIZES.items() for part in ("--set", f"principles.{name}={n}")]
JUDGED = (
    "oversight.pairs=24",
    "oversight.audit=4",
    "oversight.turns=1",
    "oversight.max_tokens=900",
    "oversight.max_new_tokens=8",
)
BY_PROTOCOL = [part for setting in JUDGED for part in ("--set", setting)]
DPO = ("--set", "method=dpo", "--set", "dpo.watch_steps=100")


@pytest.fixture
def guided(first: dict[str, Any], project: Project, tmp_path: Path) -> Project:
    """A project that ran without principles, with a list of two of its own."""
    assert first["status"] == "done"
    copy = copied(project, tmp_path / "guided")
    (copy.folder / LIST).parent.mkdir()
    entries = ENTRY.format("short", "is short.", "A. Person") + ENTRY.format("polite", "is polite.", "null")
    (copy.folder / LIST).write_text(f"version: 3\nprinciples:\n{entries}", encoding="utf-8")
    return copy


@pytest.mark.parametrize("protocol", ["debate", "recursive_reward"])
def test_from_the_file_to_pairs_cards_and_evidence(protocol: str, guided: Project) -> None:
    folder, chosen = guided.folder, ("--set", f"oversight.protocol={protocol}", "--set", f"principles.file={LIST}")
    given = (*ON, *DPO, *BY_PROTOCOL, *chosen, "--until", "ppo")
    refused = guided.attestrl("run", *given)
    assert refused.returncode == 2
    assert f"{LIST}: principles: entry polite: field approved_by: names nobody" in refused.stderr
    record = guided.run(*given, "--set", "principles.approved_by=B. Person")
    assert record["status"] == "done", record["message"]
    assert made(record) == ["sft", "reward", "ppo"]

    pairs = folder / "data/interim/principle_pairs.parquet"
    table = pl.read_parquet(pairs)
    assert set(table["principle"].to_list()) == {"short", "polite"} and table.height > 12
    assert pl.read_parquet(folder / "data/reports/sft/revisions.parquet").height == 6
    lineage = json.loads((folder / "data/models/policy/lineage.json").read_text(encoding="utf-8"))
    assert lineage["principle_pairs_sha256"] == sha256_path(pairs)
    assert {"principles/agreement", "principles/contradictions"} <= record["metrics"].keys()

    by_protocol = folder / "data/interim/oversight_pairs.parquet"
    assert lineage["oversight_pairs_sha256"] == sha256_path(by_protocol) and pl.read_parquet(by_protocol).height > 0
    assert record["metrics"][f"oversight/judge_accuracy/{protocol}"]["n"] == 8

    bundle = folder / "evidence.zip"
    done = guided.attestrl("evidence", "export", record["run_id"], "--out", str(bundle))
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(bundle) as z:
        card, listed = z.read("run/card-policy.md").decode(), json.loads(z.read("run/principles.json"))
        judged, sheet = (
            json.loads(z.read("run/oversight.json")),
            json.loads(z.read("run/datasheet-oversight_pairs.json")),
        )
        needs = {d["ref"]: d["dependsOn"] for d in json.loads(z.read("run/bom-1.6.json"))["dependencies"]}
    found = dict(table["principle"].value_counts().rows())
    for name, text, by in (("short", "is short.", "A. Person"), ("polite", "is polite.", "B. Person")):
        assert f"| {name} | {text} | own | it is tested | {by} |" in card
        assert f"| {found[name]} |\n" in card
    assert listed["reward"]["sha256"] == sha256_path(folder / LIST) and listed["reward"]["version"] == 3
    assert listed["audit"]["pairs"] == 12 and len(listed["audit"]["oppositions"]) == 1

    assert (
        judged["said"] in card
        and judged["protocol"] == protocol
        and judged["pairs"] == pl.read_parquet(by_protocol).height
    )
    assert ("assistant" in judged) == ("Its assistant learned" in card) == (protocol == "recursive_reward")
    assert "No person compared these answers" in json.dumps(sheet)
    assert any("oversight_pairs" in ref for ref in needs["model:data/models/reward"])
    assert any("oversight_pairs" in ref for ref in needs["model:data/models/policy"])

    (folder / LIST).write_text((folder / LIST).read_text(encoding="utf-8").replace("is polite", "is kind"))
    status = guided.python("-m", "dvc", "status", "--json", "sft", "reward").stdout
    assert status.count(f'"{LIST}": "modified"') == 2
