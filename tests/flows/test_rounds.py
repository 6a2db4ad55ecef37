"""When rounds of labels end, and what a run's record says of the rounds before it."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows import rounds
from governance.digest import sha256_path, write_json, write_jsonl
from governance.entry import Event
from tasks import params, paths

SHIPPED = Path(__file__).resolve().parents[2] / "params.yaml"
PROMPT = [{"role": "user", "content": "Why?"}]
N = 40


class Run:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.logged: list[tuple[Event, dict[str, str], dict[str, Any]]] = []
        self.history = SimpleNamespace(entries=list)

    def log(self, event: Event, digests: dict[str, str], **data: Any) -> None:
        self.logged.append((event, digests, data))


@pytest.fixture
def labelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A second run, after a round of which the reward model was right on so many of forty pairs at random, and on .7 of the test side."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATTESTRL_HOME", str(tmp_path / ".attestrl"))
    monkeypatch.setattr(rounds, "_ask", lambda *_: [])
    asked = [
        {"prompt": PROMPT, "responses": [f"a{k}", f"b{k}"], "scores": [1.0, 0.0], "at_random": True} for k in range(N)
    ]
    write_json(paths.home() / "rounds/round-1.json", {"policy": "ab", "run_id": "run-1", "pairs": asked})
    write_json(paths.report("reward") / "metrics.json", {"metrics": [{"name": "accuracy/test", "value": 0.7}]})

    def after(right: int, of: int = 3) -> tuple[Run, dict[str, Any]]:
        rows = [
            {"prompt": PROMPT, "responses": pair["responses"], "ranking": [0, 1] if k < right else [1, 0]}
            for k, pair in enumerate(asked)
        ]
        write_jsonl(paths.ROUNDS / "round-1.jsonl", rows)
        settings = params.load(SHIPPED)
        given = settings.rounds.model_copy(update={"number": of, "margin": 0.05})
        run = Run()
        found = rounds.after(run, settings.model_copy(update={"rounds": given}))  # type: ignore[arg-type]
        assert found is not None
        return run, found

    return after


def test_rounds_end_where_the_reward_model_is_as_right_on_the_policys_own_answers(labelled: Any) -> None:
    """36 of 40 are .9 [.769, .960], above .7 − .05; 30 of 40 are .75 [.598, .858], whose lower end is not."""
    _, enough = labelled(36)
    assert enough["state"] == "done"
    assert "right on 90% of the policy's answers (at least 77%), against 70% of the test side" in enough["sentence"]
    _, less = labelled(30)
    assert less["state"] == "waits"
    _, last = labelled(30, of=2)
    assert (last["state"], last["sentence"]) == ("done", "round 2 of 2: the last one.")


def test_a_record_leads_from_round_to_round(labelled: Any) -> None:
    run, found = labelled(36)
    (before,) = found["measured"]
    digests = {"labels": sha256_path(paths.ROUNDS / "round-1.jsonl"), "policy": "ab"}
    assert before == before | digests | {"round": 1, "asked_by": "run-1", "chosen": None}
    ((event, logged, data),) = run.logged
    assert (event, logged, data["asked_by"]) == (Event.ROUND_LABELLED, digests, "run-1")
    assert json.dumps(data)
