"""What changed between two runs, named once, in the order of cause and effect."""

from pathlib import Path

from governance.difference import Change, difference
from governance.digest import write_atomic, write_json
from governance.records import load_run
from tests.governance.runs import OTHER, digest, make_notary, make_run


def test_a_run_does_not_differ_from_itself(tmp_path: Path) -> None:
    folder = make_run(make_notary(tmp_path), tmp_path / "records")
    assert difference(folder, folder) == []


def test_what_changed_is_named(tmp_path: Path) -> None:
    notary = make_notary(tmp_path)
    one, two = (make_run(notary, tmp_path / "records", run_id) for run_id in ("a", OTHER))
    write_atomic(one / "params.yaml", "seed: 7\nppo: {kl_coef: 0.05, epochs: 2}\n")
    write_atomic(two / "params.yaml", "seed: 7\nppo: {kl_coef: 0.1, epochs: 2}\n")
    write_atomic(two / "requirements.lock", "torch==2.13.0\n")
    record = load_run(two)
    record["metrics"] = {"accuracy/test": {"value": 0.75, "low": 0.5, "high": 1.0, "n": 64}}
    record["gate"] = {"verdict": "refuse", "reasons": ["the KL is too high."]}
    write_json(two / "run.json", record)
    sentences = [c.sentence() for c in difference(one, two)]
    assert sentences[0] == "package torch: new, 2.13.0"
    assert sentences[1] == "parameter ppo.kl_coef: 0.05 → 0.1"
    raw = "data/raw/hh_rlhf/pairs.jsonl"
    assert f"input {raw}: {digest('a', raw)[:12]} → {digest(OTHER, raw)[:12]}" in sentences
    policy = "data/models/policy"
    assert f"output {policy}: {digest('a', policy)[:12]} → {digest(OTHER, policy)[:12]}" in sentences
    assert "figure accuracy/test: 0.6250 [0.5000, 0.7500] → 0.7500 [0.5000, 1.0000]" in sentences
    assert sentences[-2:] == [
        "run verdict: pass → refuse",
        'run reasons of the gate: [] → ["the KL is too high."]',
    ]
    assert not any("epochs" in s or "seed" in s for s in sentences)


def test_what_is_gone_is_named() -> None:
    assert Change("package", "torch", "2.13.0", None).sentence() == "package torch: gone, was 2.13.0"
