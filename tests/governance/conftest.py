"""What the tests of the evidence share."""

from governance.checkpoint import Folder
from governance.keys import Keyring
from governance.ledger import Ledger
from governance.notary import Notary


def notary_of(ledger: Ledger) -> Notary:
    """A notary whose checkpoints and keys lie beside the log, with no key from outside."""
    folder = ledger.path.parent
    return Notary(ledger, Folder(folder / "checkpoints"), Keyring(folder / "keys", environment={}))
