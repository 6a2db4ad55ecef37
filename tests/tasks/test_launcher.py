"""What the environment says of several machines, and what it must not say."""

import pytest

from governance.errors import BadInput
from tasks.launcher import Machines, check_sharding

WHOLE = {"NNODES": "2", "NODE_RANK": "1", "RDZV_ENDPOINT": "node0:29400", "RDZV_ID": "job7"}


def say(monkeypatch: pytest.MonkeyPatch, **changed: str | None) -> None:
    for name, value in (WHOLE | changed).items():
        if value is None:
            monkeypatch.delenv(f"PET_{name}", raising=False)
        else:
            monkeypatch.setenv(f"PET_{name}", value)


def test_machines_are_read_from_torchruns_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    say(monkeypatch)
    assert Machines.of_environment() == Machines(2, 1, "node0:29400", "job7")
    say(monkeypatch, NNODES=None)
    assert Machines.of_environment() == Machines()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"NNODES": "two"}, "PET_NNODES is two; give a whole number from 1 on"),
        ({"NODE_RANK": None}, "PET_NODE_RANK is missing"),
        ({"NODE_RANK": "2"}, "2 machines count from 0"),
        ({"RDZV_ENDPOINT": None}, "PET_RDZV_ENDPOINT is missing; give HOST:PORT of machine 0"),
        ({"RDZV_ENDPOINT": "node0"}, "PET_RDZV_ENDPOINT is node0"),
        ({"RDZV_ENDPOINT": "node0:0"}, "PET_RDZV_ENDPOINT is node0:0"),
    ],
)
def test_what_does_not_fit_together_is_said(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, str | None], says: str
) -> None:
    say(monkeypatch, **changed)
    with pytest.raises(BadInput, match=says):
        Machines.of_environment()


def test_one_process_has_nothing_to_divide() -> None:
    check_sharding("fsdp2", 2, Machines())
    check_sharding("fsdp2", 1, Machines(2, 0, "node0:29400", "job7"))
    check_sharding("none", 1, Machines())
    with pytest.raises(BadInput, match=r"sharding is fsdp2, .* num_processes is 1; raise it, or set sharding to none"):
        check_sharding("fsdp2", 1, Machines())
