"""What a worker says when it cannot begin."""

from pathlib import Path

import pytest

from flows.worker import _clone
from governance.errors import MissingComponent


def test_git_s_own_reason_is_told_and_not_the_advice_below_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingComponent, match="does not appear to be a git repository"):
        _clone({"repository": f"file://{tmp_path}/none", "commit": "abc"})
