"""What Prefect is told of a run in which nothing has changed."""

import pytest
from prefect import flow
from prefect.settings import get_current_settings

from flows.pipeline import heartbeats


@flow(name="asks", persist_result=False)
def asks() -> int | None:
    """Seconds between the heartbeats of this flow run; None: it sends none, and waits for nobody who would."""
    return get_current_settings().flows.heartbeat_frequency


def test_only_a_run_in_which_nothing_has_changed_sends_no_heartbeats(
    orchestrator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", orchestrator)
    usual = get_current_settings().flows.heartbeat_frequency
    assert usual is not None
    with heartbeats(wanted=True):
        assert asks() == usual
    with heartbeats(wanted=False):
        assert asks() is None
    assert get_current_settings().flows.heartbeat_frequency == usual
