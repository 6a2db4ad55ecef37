"""The key of the pseudonyms is whole or refused: under an empty one, anybody could try names."""

from pathlib import Path

import pytest

from governance.errors import BadInput
from tasks import pseudonyms


def test_a_key_is_made_once_and_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTESTRL_HOME", str(tmp_path))
    key = pseudonyms.key()
    assert len(key) == 32
    assert pseudonyms.key() == key
    assert (tmp_path / "keys/pseudonyms.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("length", [0, 31])
def test_a_key_that_was_cut_is_refused(length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTESTRL_HOME", str(tmp_path))
    pseudonyms.key()
    file = tmp_path / "keys/pseudonyms.key"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(BadInput, match=r"pseudonyms.key: is not the key"):
        pseudonyms.key()
