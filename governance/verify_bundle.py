"""Verify an evidence bundle: python verify.py [BUNDLE.zip] [--key PUB.pem]; by default the folder this file lies in.

Needs Python 3.10 or later and the package `cryptography`, nothing else; it shares no code with the software that wrote
the bundle. Prints what was verified and exits with 0, or one line for each reason to refuse and exits with 1. Without
--key the signatures are checked against the key that the bundle itself names: compare its fingerprint, which is
printed, with the one that you were given in another way. Use a copy of this file that you trust: whoever changes a
bundle can change the copy in it.
"""

import argparse
import base64
import hashlib
import io
import json
import stat
import struct
import sys
import unicodedata
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

MOST_FILES = 10_000
MOST_BYTES = 512 * 1024 * 1024
MANIFEST = "manifest.json"
FORMAT = "attestrl-evidence/1"
LEDGER = ("ledger/entries.jsonl", "ledger/proofs.json", "ledger/checkpoint.json")
ALWAYS = ("index.html", "mapping.json", "verify.py", "run/run.json", *LEDGER)
FOLDERS = ("run/", "schemas/")
ROWS = {  # of each table that must be there; Annex XI is asked for of general-purpose models alone
    "eu_ai_act_annex_iv": 23,
    "eu_ai_act_articles": 9,
    "iso_42001_annex_a": 38,
    "nist_ai_rmf": 72,
    "gdpr": 6,
}
ENDS = ("run.ended", "run.failed", "run.killed")

Keys = dict[str, ec.EllipticCurvePublicKey]  # by fingerprint
Entries = list[dict[str, Any]]


class Refused(Exception):
    """One reason to refuse, or several, a line each."""


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()


# --- the container ---------------------------------------------------------------------------------------------------


def bad_name(name: str) -> str:
    """Why a name may not be in a bundle; nothing if it may."""
    path = PurePosixPath(name)
    if path.is_absolute() or name.startswith("\\") or (len(name) > 1 and name[1] == ":"):
        return "absolute name"
    if ".." in path.parts or "\\" in name:
        return "path traversal"
    if not name or name != str(path) or not name.isprintable():
        return "not a plain file name"
    return ""


def twins(names: list[str]) -> list[str]:
    """Reasons to refuse names that one file system tells apart and another does not: by case, or by how a letter is
    composed."""
    first: dict[str, str] = {}
    reasons = []
    for name in dict.fromkeys(names):
        other = first.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            reasons.append(f"{name!r}: is the same name as {other!r} on some systems")
    return reasons


def read_zip(path: str) -> dict[str, bytes]:
    """Content of every file by its name. Nothing is written to the disk."""
    try:
        if Path(path).stat().st_size > 2 * MOST_BYTES:
            raise Refused(f"{path}: is larger than {2 * MOST_BYTES} bytes, which no bundle is")
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise Refused(f"{path}: is not a readable zip file ({error})") from None
    infos = archive.infolist()
    reasons: list[str] = twins([info.filename for info in infos])
    seen: set[str] = set()
    for info in infos:
        if why := bad_name(info.orig_filename):
            reasons.append(f"{info.orig_filename!r}: {why}")
        if info.filename in seen:
            reasons.append(f"{info.filename!r}: duplicate name")
        seen.add(info.filename)
        mode = info.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            reasons.append(f"{info.filename!r}: {'a symbolic link' if stat.S_ISLNK(mode) else 'not a regular file'}")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            reasons.append(f"{info.filename!r}: is compressed, which no bundle is: it may be a zip bomb")
        if info.flag_bits & 1:
            reasons.append(f"{info.filename!r}: is encrypted")
    if len(infos) > MOST_FILES or sum(i.file_size for i in infos) > MOST_BYTES:
        reasons.append(f"{path}: holds more than {MOST_FILES} files or {MOST_BYTES} bytes: it may be a zip bomb")
    if reasons:
        raise Refused("\n".join(reasons))
    try:
        files = {info.filename: archive.read(info) for info in infos}
        whole = Path(path).read_bytes()
    except (OSError, zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, zlib.error) as error:
        raise Refused(f"{path}: cannot be read whole ({error})") from None
    if whole != container(files):
        raise Refused(f"{path}: was changed outside its files: a bundle's zip is written in one way only")
    return files


def container(files: dict[str, bytes]) -> bytes:
    """The one way in which a bundle is written: stored, in the order of names, dated 1980-01-01, mode 0644."""
    body, directory = [], []
    offset = 0
    for name in sorted(files):
        data, raw = files[name], name.encode()
        flags = 0 if name.isascii() else 0x800
        common = struct.pack("<HHHHIIIHH", flags, 0, 0, 33, zlib.crc32(data), len(data), len(data), len(raw), 0)
        body.append(b"PK\x03\x04" + struct.pack("<H", 20) + common + raw + data)
        tail = struct.pack("<HHHII", 0, 0, 0, 0o100644 << 16, offset)
        directory.append(b"PK\x01\x02" + struct.pack("<BBH", 20, 3, 20) + common + tail + raw)
        offset += len(body[-1])
    size = sum(map(len, directory))
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, len(files), len(files), size, offset, 0)
    return b"".join([*body, *directory, end])


def read_folder(folder: Path) -> dict[str, bytes]:
    """Content of every file of an unpacked bundle by its name."""
    files: dict[str, bytes] = {}
    reasons: list[str] = []
    total = 0
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if why := bad_name(name):
            reasons.append(f"{name!r}: {why}")
        elif path.is_symlink():
            reasons.append(f"{name!r}: a symbolic link")
        elif path.is_file():
            total += path.stat().st_size
            if total > MOST_BYTES or len(files) >= MOST_FILES:
                raise Refused(f"{folder}: holds more than {MOST_FILES} files or {MOST_BYTES} bytes")
            files[name] = path.read_bytes()
        elif not path.is_dir():
            reasons.append(f"{name!r}: not a regular file")
    if reasons:
        raise Refused("\n".join(reasons))
    return files


# --- signatures ------------------------------------------------------------------------------------------------------


def no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse JSON objects in which a name stands twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def no_number(text: str) -> float:
    """Refuse NaN and the infinities, which JSON does not have."""
    raise ValueError(f"{text} is not a number")


def parse(data: bytes, what: str) -> Any:
    """JSON document."""
    try:
        return json.loads(data, object_pairs_hook=no_twins, parse_constant=no_number)
    except (ValueError, RecursionError) as error:
        raise Refused(f"{what}: is not JSON ({error})") from None


def public_key(pem: bytes, what: str) -> tuple[ec.EllipticCurvePublicKey, str]:
    """Key on P-256 and its fingerprint."""
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise Refused(f"{what}: is not a public key in PEM that can be read") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise Refused(f"{what}: is not a key on the curve P-256")
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return key, sha256(der)


def by_fingerprint(keys: list[tuple[ec.EllipticCurvePublicKey, str]]) -> Keys:
    """Keys by their fingerprints."""
    return {fingerprint: key for key, fingerprint in keys}


def opened(data: bytes, kind: str, keys: Keys, what: str) -> tuple[Any, str]:
    """Payload of a DSSE envelope of type `kind` signed by one of `keys` (by fingerprint), and who signed."""
    envelope = parse(data, what)
    try:
        (signed,) = envelope["signatures"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        signature = base64.b64decode(signed["sig"], validate=True)
        named, found = signed["keyid"], envelope["payloadType"]
    except (KeyError, TypeError, ValueError):
        raise Refused(f"{what}: is not a signed envelope") from None
    if found != kind:
        raise Refused(f"{what}: is signed as {found}, not as {kind}")
    if named not in keys:
        raise Refused(f"{what}: wrong key: it is signed by {named[:16]}, not by {', '.join(k[:16] for k in keys)}")
    text = b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload)
    try:
        keys[named].verify(signature, text, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise Refused(f"{what}: the signature is not that of key {named[:16]}: it was changed or forged") from None
    return parse(payload, what), named


# --- the ledger ------------------------------------------------------------------------------------------------------


def check_entries(data: bytes, run_id: str, reasons: list[str]) -> Entries:
    """Entries of the run, each with the hash of its content, in order."""
    entries: Entries = []
    for number, line in enumerate(data.splitlines(), 1):
        what = f"ledger/entries.jsonl line {number}"
        entry = parse(line, what)
        own, before = entry.get("entry_hash", ""), entry.get("prev_hash", "")
        start = line.rfind(b',"entry_hash":"%b","prev_hash":"%b",' % (own.encode(), before.encode()))
        content = line[:start] + line[start + len(own) + len(',"entry_hash":""') :]
        if start < 0 or sha256(content) != own:
            reasons.append(f"{what}: was edited: its content does not have the hash that it names")
        if entry.get("run_id") != run_id:
            reasons.append(f"{what}: belongs to another run ({entry.get('run_id')})")
        if entries and entry["seq"] <= entries[-1]["seq"]:
            reasons.append(f"{what}: seq {entry['seq']} does not come after {entries[-1]['seq']}")
        if entries and entry["seq"] == entries[-1]["seq"] + 1 and before != entries[-1]["entry_hash"]:
            reasons.append(f"{what}: does not follow the entry before it: the chain is broken")
        entries.append(entry)
    if not entries:
        raise Refused("ledger/entries.jsonl: holds no entry")
    if entries[0]["type"] != "run.started":
        reasons.append("ledger/entries.jsonl: does not begin with the start of the run: entries were left out")
    for place, entry in enumerate(entries):
        if entry["type"] in ENDS and place < entry["data"].get("entries", 0):
            reasons.append(
                f"ledger/entries.jsonl: has {place} entries before the end of the run, which names "
                f"{entry['data']['entries']}: some were left out"
            )
    return entries


def root_of(entry_hash: str, index: int, size: int, path: list[str]) -> str | None:
    """Root that an inclusion proof leads to: RFC 9162, section 2.1.3.2; nothing if it leads to none."""
    fn, sn = index, size - 1
    node = hashlib.sha256(b"\x00" + bytes.fromhex(entry_hash)).digest()
    for text in path:
        if sn == 0:
            return None
        sibling = bytes.fromhex(text)
        if fn & 1 or fn == sn:
            node = hashlib.sha256(b"\x01" + sibling + node).digest()
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            node = hashlib.sha256(b"\x01" + node + sibling).digest()
        fn, sn = fn >> 1, sn >> 1
    return node.hex() if sn == 0 else None


def check_inclusion(
    entries: Entries, proofs: dict[str, list[str]], checkpoint: dict[str, Any], reasons: list[str]
) -> None:
    """Every entry is in the tree whose root the checkpoint signed."""
    for entry in entries:
        seq = entry["seq"]
        if not 0 <= seq < checkpoint["size"]:
            reasons.append(f"ledger entry {seq}: is beyond the checkpoint of {checkpoint['size']} entries")
        elif root_of(entry["entry_hash"], seq, checkpoint["size"], proofs.get(str(seq), [])) != checkpoint["root"]:
            reasons.append(f"ledger entry {seq}: its Merkle proof does not lead to the root that was signed")


# --- the run ---------------------------------------------------------------------------------------------------------


def check_run_files(files: dict[str, bytes], entries: Entries, reasons: list[str]) -> None:
    """Files of the run are those whose digests its last entry holds."""
    ends = [e for e in entries if e["type"] in ENDS]
    if not ends:
        reasons.append("ledger/entries.jsonl: the run has no last entry: it did not end")
        return
    named = {f"run/{name}": digest for name, digest in ends[-1]["subject_digests"].items()}
    present = {name: sha256(data) for name, data in files.items() if name.startswith("run/")}
    for name in sorted(named.keys() | present.keys()):
        if name not in present:
            reasons.append(f"{name}: is missing, though the ledger names it")
        elif name not in named:
            reasons.append(f"{name}: is not one of the files that the ledger names")
        elif named[name] != present[name]:
            reasons.append(f"{name}: is not the file that the ledger names: it was changed, or is of another run")


def check_run_record(run: dict[str, Any], entries: Entries, reasons: list[str]) -> None:
    """What run.json says is what the ledger says."""
    verdicts = [e["data"].get("verdict") for e in entries if e["type"] == "gate.verdict"]
    told = run.get("gate", {}).get("verdict")
    if told != (verdicts[-1] if verdicts else "none"):
        reasons.append(f"run/run.json: the verdict {told} is not that of the ledger ({verdicts[-1:] or 'none'})")
    stages = {e["data"]["stage"]: e for e in entries if e["type"] in ("stage.made", "stage.cached")}
    for stage in run.get("stages", []):
        logged = stages.get(stage["name"])
        if stage["outcome"] in ("made", "cached") and logged is None:
            reasons.append(f"run/run.json: stage {stage['name']} is not in the ledger")
        digests = logged["subject_digests"] if logged else {}
        for output in stage["outputs"] if logged else []:
            if digests.get(output["path"]) != output["sha256"]:
                reasons.append(f"run/run.json: {output['path']} does not have the digest that the ledger has")


def check_lineage(files: dict[str, bytes], entries: Entries, reasons: list[str]) -> None:
    """What a stage used is what another one made; policy, reward model and evaluation name one base."""
    made: dict[str, tuple[str, str]] = {}
    used: list[tuple[str, str, str]] = []
    for e in entries:
        if e["type"] in ("stage.made", "stage.cached"):
            for name, digest in e["subject_digests"].items():
                if name.startswith("input:"):
                    used.append((e["data"]["stage"], name[6:], digest))
                else:
                    made[name] = (e["data"]["stage"], digest)
    for stage, name, digest in used:
        if name in made and made[name][1] != digest:
            reasons.append(
                f"stage {stage}: used a stale {name} ({digest[:12]}); {made[name][0]} made {made[name][1][:12]}"
            )
    documents = {}
    for name in ("lineage/policy", "lineage/reward", "reports/evaluate", "reports/reward", "evaluation"):
        if f"run/{name}.json" in files:
            documents[name] = parse(files[f"run/{name}.json"], f"run/{name}.json")
    check_base(documents, reasons)
    for name, field, folder in (
        ("reports/evaluate", "policy_sha256", "data/models/policy"),
        ("reports/evaluate", "reward_sha256", "data/models/reward"),
        ("reports/reward", "reward_sha256", "data/models/reward"),
    ):
        if name in documents and folder in made and documents[name].get(field) != made[folder][1]:
            reasons.append(
                f"run/{name}.json: speaks of another {folder.rpartition('/')[2]} model than the one made: stale"
            )


def check_base(documents: dict[str, dict[str, Any]], reasons: list[str]) -> None:
    """Policy, reward model and evaluation name one base."""
    bases = {n: documents[n].get("base_sha256") for n in documents if n not in ("reports/reward", "evaluation")}
    evaluated = documents.get("evaluation", {}).get("models", {})
    bases |= {"evaluation": evaluated["base"]} if "base" in evaluated else {}
    if len(set(bases.values())) > 1 or None in bases.values():
        told = ", ".join(f"{n} {str(b)[:12]}" for n, b in sorted(bases.items()))
        reasons.append(f"policy, reward model and evaluation name different bases: {told}")


def check_model_signatures(
    files: dict[str, bytes], entries: Entries, keys: Keys, revoked: Keys, reasons: list[str]
) -> list[str]:
    """Every signature of a model (OpenSSF Model Signing 1.0) is by a key of the bundle, over the files of the model that
    the run made; gives the models' names. One by a key that was revoked since stood in the log before a key that counts
    confirmed the log, and is named as what it is."""
    every = keys | revoked
    made = {
        n: d for e in entries if e["type"] in ("stage.made", "stage.cached") for n, d in e["subject_digests"].items()
    }
    names = []
    for name in sorted(n for n in files if n.startswith("run/signatures/")):
        bundle = parse(files[name], name)
        envelope, hint = bundle["dsseEnvelope"], bundle["verificationMaterial"]["publicKey"]["hint"]
        signers = {sha256(pem(key)): fingerprint for fingerprint, key in every.items()}
        if hint not in signers:
            reasons.append(f"{name}: wrong key: it names none of {', '.join(k[:16] for k in every)}")
            continue
        envelope["signatures"][0]["keyid"] = signers[hint]
        statement, _ = opened(json.dumps(envelope).encode(), "application/vnd.in-toto+json", every, name)
        listed = statement["predicate"]["resources"]
        model = "data/models/" + PurePosixPath(name).stem
        if statement["predicateType"] != "https://model_signing/signature/v1.0":
            reasons.append(f"{name}: is no signature of a model")
        elif folder_digest({r["name"]: r["digest"] for r in listed if r["algorithm"] == "sha256"}) != made.get(model):
            reasons.append(f"{name}: lists other files than those of the {PurePosixPath(name).stem} that the run made")
        names.append(
            PurePosixPath(name).stem + (" (by a key that was revoked since)" if signers[hint] in revoked else "")
        )
    return names


def pem(key: ec.EllipticCurvePublicKey) -> bytes:
    """PEM text of a public key."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def folder_digest(listed: dict[str, str]) -> str:
    """SHA-256 of the canonical JSON (RFC 8785) of {name: SHA-256 of the file}."""
    order = sorted(listed, key=lambda name: name.encode("utf-16-be"))
    rows = [f"{json.dumps(name, ensure_ascii=False)}:{json.dumps(listed[name])}" for name in order]
    return sha256(("{" + ",".join(rows) + "}").encode())


def check_mapping(mapping: dict[str, Any], files: dict[str, bytes], reasons: list[str]) -> None:
    """Every table has its rows, and each says where its evidence is, or why there is none; what it names is there, and
    only where the run's declarations name a row is it not applicable."""
    rows = {table["id"]: {row["id"] for row in table["rows"]} for table in mapping["tables"]}
    for name, number in ROWS.items():
        if len(rows.get(name, ())) != number:
            reasons.append(f"mapping.json: {name} has {len(rows.get(name, ()))} of its {number} rows")
    declared = files.get("run/declarations.yaml", b"").decode()
    for table in mapping["tables"]:
        for row in table["rows"]:
            what = f"mapping.json: {table['id']} {row['id']}"
            if row["status"] == "evidence":
                for e in row["evidence"]:
                    if e["file"] not in files:
                        reasons.append(f"{what}: names {e['file']}, which does not exist")
                    elif sha256(files[e["file"]]) != e["sha256"]:
                        reasons.append(f"{what}: {e['file']} does not have the digest that it names")
            if row["status"] == "not applicable" and row["id"] not in declared:
                reasons.append(f"{what}: is not applicable, but nobody declared it in run/declarations.yaml")
            told = row["evidence"] if row["status"] == "evidence" else row["note"]
            if row["status"] not in ("evidence", "needs a person", "not applicable") or not told:
                reasons.append(f"{what}: says neither where the evidence is nor why there is none")


# --- all of it -------------------------------------------------------------------------------------------------------


def check_manifest(files: dict[str, bytes], trusted: Keys) -> tuple[dict[str, Any], Keys, Keys, str]:
    """The signed list of files; gives it, the keys it names, those of them that were revoked, and who signed."""
    if MANIFEST not in files:
        raise Refused(f"{MANIFEST}: is missing: this is not an evidence bundle")
    outer = parse(files[MANIFEST], MANIFEST)
    try:
        inner = parse(base64.b64decode(outer["payload"]), MANIFEST)
        told = by_fingerprint([public_key(k["public"].encode(), f"{MANIFEST}: a key") for k in inner["keys"]])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Refused(f"{MANIFEST}: is not a signed list of files") from None
    manifest, keyid = opened(files[MANIFEST], "application/vnd.attestrl.evidence+json", trusted or told, MANIFEST)
    revoked = {k["keyid"] for k in manifest["keys"] if k["status"] == "revoked"}
    if keyid in revoked:
        raise Refused(f"{MANIFEST}: is signed by a revoked key ({keyid[:16]})")
    if manifest["format"] != FORMAT:
        raise Refused(f"{MANIFEST}: is of the format {manifest['format']}, and this program reads {FORMAT}")
    gone = {k: v for k, v in told.items() if k in revoked}
    return manifest, {k: v for k, v in told.items() if k not in revoked} | trusted, gone, keyid


def check_files(files: dict[str, bytes], listed: dict[str, str], reasons: list[str]) -> None:
    """Exactly the listed files, each with its digest; what every bundle has among them, and nothing of another kind."""
    reasons += twins([*files])
    for name in sorted(files.keys() | listed.keys()):
        if name == MANIFEST:
            continue
        if name not in ALWAYS and not name.startswith(FOLDERS):
            reasons.append(f"{name}: is no file of a bundle")
        if name not in files:
            reasons.append(f"{name}: is missing")
        elif name not in listed:
            reasons.append(f"{name}: is not in the manifest: it was added")
        elif sha256(files[name]) != listed[name]:
            reasons.append(f"{name}: was changed: its SHA-256 is not the one in the manifest")
    reasons += [
        f"{name}: is missing, and every bundle has it" for name in ALWAYS if name not in files.keys() | listed.keys()
    ]


def verify(path: str, key: str | None = None) -> tuple[list[str], list[str]]:
    """Reasons to refuse the bundle at `path` (a zip file or a folder), and sentences about what was verified."""
    reasons: list[str] = []
    facts: list[str] = []
    try:
        trusted = by_fingerprint([public_key(Path(key).read_bytes(), key)]) if key is not None else {}
        files = read_folder(Path(path)) if Path(path).is_dir() else read_zip(path)
        manifest, keys, revoked, keyid = check_manifest(files, trusted)
        check_files(files, manifest["files"], reasons)
        if reasons:
            return reasons, facts
        run_id = manifest["run_id"]
        checkpoint, by = opened(
            files["ledger/checkpoint.json"],
            "application/vnd.attestrl.checkpoint+json",
            keys,
            "ledger/checkpoint.json",
        )
        entries = check_entries(files["ledger/entries.jsonl"], run_id, reasons)
        check_inclusion(entries, parse(files["ledger/proofs.json"], "ledger/proofs.json"), checkpoint, reasons)
        check_run_files(files, entries, reasons)
        run = parse(files["run/run.json"], "run/run.json")
        if run.get("run_id") != run_id:
            reasons.append(f"run/run.json: is of another run ({run.get('run_id')})")
        check_run_record(run, entries, reasons)
        check_lineage(files, entries, reasons)
        signed = check_model_signatures(files, entries, keys, revoked, reasons)
        check_mapping(parse(files["mapping.json"], "mapping.json"), files, reasons)
        told = "" if key is not None else ", which the bundle itself names: compare it with the one that you were given"
        facts = [
            f"run {run_id}: {run.get('status')}, release gate: {run.get('gate', {}).get('verdict')}",
            f"{len(files)} files as in the manifest, signed by key {keyid}{told}",
            f"{len(entries)} ledger entries, under the checkpoint of {checkpoint['size']} entries"
            f" of {checkpoint['time']}, signed by key {by}",
            f"models signed: {', '.join(signed) or 'none'}",
        ]
    except Refused as refused:
        reasons += str(refused).splitlines()
    except OSError as error:
        reasons.append(f"{error.filename}: cannot be read ({error.strerror})")
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        reasons.append(f"a document of the bundle does not have the form that it must have ({error!r})")
    return reasons, facts


def plain(text: str) -> str:
    """One line: what a bundle says may not move the cursor or begin a line of its own."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Verify an AttestRL evidence bundle, offline.")
    parser.add_argument("bundle", nargs="?", default=str(Path(__file__).resolve().parent), help="zip file or folder")
    parser.add_argument("--key", help="public key (PEM) that must have signed it")
    arguments = parser.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name may hold letters that the terminal does not have
        sys.stdout.reconfigure(errors="backslashreplace")
    reasons, facts = verify(arguments.bundle, arguments.key)
    for reason in reasons:
        print(f"refused: {plain(reason)}")
    if reasons:
        return 1
    for fact in facts:
        print(plain(fact))
    print("verified: evidence, not a declaration of compliance")
    return 0


if __name__ == "__main__":
    sys.exit(main())
