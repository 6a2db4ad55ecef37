"""An exported bundle, and ways to take it apart and to forge it."""

import zipfile
from dataclasses import asdict
from pathlib import Path

from governance import bundle, dsse
from governance.digest import canonical_json, sha256_bytes
from governance.verify_bundle import verify
from tests.governance.runs import OTHER, RUN, export_to, make_notary, make_run

Files = dict[str, bytes]
SOURCE = Path(bundle.__file__).with_name("verify_bundle.py")


class Exported:
    """A project with two runs, and the bundle of the first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notary = make_notary(folder)
        self.run = make_run(self.notary, folder / "records")
        self.other = make_run(self.notary, folder / "records", OTHER)
        self.zip = folder / "evidence.zip"
        export_to(self.run, self.notary, "user:a", self.zip)
        self.files = read(self.zip)
        self.key = folder / "key.pem"
        active = self.notary.keyring.active()
        assert active is not None
        self.key.write_text(active.public)

    def signed_anew(self, files: Files, key: object = None) -> Files:
        """The files under a manifest by the project's own key, as somebody inside could make it, or by another."""
        private = key or self.notary.keyring.private()
        listed = {n: sha256_bytes(d) for n, d in files.items() if n != "manifest.json"}
        keys = [asdict(k) for k in self.notary.keyring.keys().values()]
        if key is not None:
            public = private.public_key()
            keys = [keys[0] | {"keyid": dsse.keyid_of(public), "public": dsse.public_pem(public)}]
        body = {"format": bundle.FORMAT, "run_id": RUN, "files": listed, "keys": keys}
        return files | {"manifest.json": dsse.sign(bundle.PAYLOAD_TYPE, canonical_json(body), private).as_bytes()}


def read(path: Path) -> Files:
    with zipfile.ZipFile(path) as z:
        return {n: z.read(n) for n in z.namelist()}


def refused(tmp_path: Path, files: Files | bytes, key: Path | None = None) -> list[str]:
    target = tmp_path / "tampered.zip"
    target.write_bytes(files if isinstance(files, bytes) else bundle.archive(files))
    reasons, _ = verify(str(target), str(key) if key else None)
    assert reasons
    assert all("\n" not in r for r in reasons)
    return reasons


def says(reasons: list[str], sentence: str) -> None:
    assert any(sentence in r for r in reasons), reasons
