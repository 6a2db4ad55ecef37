"""What a worker says when it cannot begin."""

from pathlib import Path

import pytest

from flows.worker import _clone, stage_elsewhere
from governance.errors import MissingComponent


def test_git_s_own_reason_is_told_and_not_the_advice_below_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingComponent, match="does not appear to be a git repository"):
        _clone({"repository": f"file://{tmp_path}/none", "commit": "abc"})


def test_an_order_is_begun_once(orchestrator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when Kubernetes starts another pod for one that was taken away."""
    from prefect import get_client
    from prefect.flow_engine import run_flow
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect.states import Crashed

    order = {"order": {"need": {"memory_gb": 1e9, "device": "cpu"}, "alive_seconds": 1}}
    with temporary_settings({PREFECT_API_URL: orchestrator}), get_client(sync_client=True) as client:
        begun = client.create_flow_run(stage_elsewhere, parameters=order)
        said = []
        for _ in range(2):
            run = client.read_flow_run(begun.id)
            state = run_flow(stage_elsewhere, flow_run=run, parameters=order, return_type="state")
            said.append((state.is_crashed(), "GB of memory" in str(state.message)))  # type: ignore[union-attr]
            client.set_flow_run_state(begun.id, Crashed(), force=True)
        assert said == [(False, True), (True, False)]
