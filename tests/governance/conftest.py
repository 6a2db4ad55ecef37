"""What the tests of the evidence share."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from governance.keys import Keyring
from governance.ledger import Ledger
from governance.notary import Notary
from governance.places import Folder

if TYPE_CHECKING:
    from tests.governance.bundles import Exported


def notary_of(ledger: Ledger) -> Notary:
    """A notary whose checkpoints and keys lie beside the log, with no key from outside."""
    folder = ledger.path.parent
    return Notary(ledger, Folder(folder / "checkpoints"), Keyring(folder / "keys", environment={}))


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> "Exported":
    from tests.governance.bundles import Exported

    return Exported(tmp_path_factory.mktemp("exported"))


@pytest.fixture
def notary(tmp_path: Path) -> Notary:
    """Three checkpoints, and two entries after the last of them. The first seal adds an entry about its key."""
    from tests.governance.signed_logs import add

    made = notary_of(Ledger(tmp_path / "ledger.jsonl"))
    for _ in range(3):
        add(made.ledger, 5)
        made.seal("user:a")
    add(made.ledger, 2)
    return made
