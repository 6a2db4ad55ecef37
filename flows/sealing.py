"""The project's notary, set up from params.yaml: where checkpoints are kept, and which key signs them."""

import os
import sys
from typing import TYPE_CHECKING

from governance.errors import AttestError, BadInput
from governance.keys import Keyring
from governance.ledger import Ledger, Log
from governance.notary import Notary
from governance.places import place_at
from governance.postgres_ledger import PostgresLedger
from tasks import params, paths

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey


def ledger() -> Log:
    """The project's ledger: a file in its state folder, or the database that ATTESTRL_LEDGER_URL names."""
    url = os.environ.get("ATTESTRL_LEDGER_URL")
    return PostgresLedger(url) if url else Ledger(paths.home() / "ledger.jsonl")


def notary() -> Notary:
    """Notary of the project's ledger. Raises BadInput if params.yaml is not valid."""
    settings = params.load(paths.PARAMS).evidence
    place = place_at(_in_project(settings.checkpoints) if settings.checkpoints else str(paths.home() / "checkpoints"))
    given = paths.root() / settings.signing_key if settings.signing_key else None
    return Notary(ledger(), place, Keyring(paths.home() / "keys", given))


def _in_project(place: str) -> str:
    """A place by its full name: relative ones start from the project's folder, wherever a run works."""
    return place if ":" in place else str(paths.root() / place)


def signing_key(actor: str) -> "EllipticCurvePrivateKey":
    """The key that signs now; made, and the log sealed with it, where there is none or another is given."""
    made = notary()
    if made.keyring.wants_change():
        made.seal(actor)
    return made.keyring.private()


def seal(actor: str) -> None:
    """Sign a checkpoint. What keeps it from being signed is said and does not undo what was recorded; that params.yaml
    is wrong is said by the command itself."""
    try:
        params.load(paths.PARAMS)
    except BadInput:
        return
    try:
        notary().seal(actor)
    except AttestError as error:
        print(f"attestrl: {error}", file=sys.stderr)
