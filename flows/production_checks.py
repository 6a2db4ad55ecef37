"""Whether the servers that this machine is configured for are there, ask for a password, and give no more than they should."""

import os
from typing import Any
from urllib.parse import urlsplit

from flows.doctor import Finding
from tasks import lineage

LOCAL = ("127.0.0.1", "localhost", "::1")
FORBIDDEN = ("UPDATE", "DELETE", "TRUNCATE")


def examine() -> list[Finding]:
    """Look at Prefect, MLflow, the ledger and the DVC remote."""
    return [*_prefect(), *_mlflow(), *_ledger(), _dvc_remote()]


def _prefect() -> list[Finding]:
    url, token = os.environ.get("PREFECT_API_URL"), os.environ.get("PREFECT_API_AUTH_STRING")
    if not url:
        return [Finding("Prefect server", False, "none is configured", "set PREFECT_API_URL")]
    user, _, password = (token or "").partition(":")
    known = (user, password) if token else None
    asked = ("POST", f"{url}/flows/filter", {"limit": 1})
    return [_serves("Prefect server", url, asked, known, "PREFECT_API_AUTH_STRING"), _refuses("Prefect server", asked)]


def _mlflow() -> list[Finding]:
    url = lineage.tracking_uri()
    if not url.startswith("http"):
        return [Finding("MLflow server", False, "none is configured", "set MLFLOW_TRACKING_URI")]
    user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD"))
    asked = ("POST", f"{url}/api/2.0/mlflow/experiments/search", {"max_results": 1})
    known = (user, password) if user else None
    secret = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    return [_serves("MLflow server", url, asked, known, secret), _refuses("MLflow server", asked)]


def _serves(what: str, url: str, asked: tuple[str, str, Any], known: tuple[str, str] | None, secret: str) -> Finding:
    """The server answers whoever has the password, over a way on which nobody can read it."""
    parts = urlsplit(url)
    shown = f"{parts.scheme}://{parts.hostname}:{parts.port or ''}".rstrip(":")
    if parts.scheme != "https" and parts.hostname not in LOCAL:
        return Finding(what, False, f"{shown}: passwords are sent in the clear", "put TLS in front of it, use https://")
    status = _status(asked, known)
    if status is None:
        return Finding(what, False, f"{shown} does not answer", "start it (docs/production.md)")
    return Finding(what, status == 200, f"{shown} answers {status}", f"correct {secret}")


def _refuses(what: str, asked: tuple[str, str, Any]) -> Finding:
    """The server answers nobody else."""
    status = _status(asked, None)
    ok = status in (401, 403)
    return Finding(f"{what}: password", ok, "asked for" if ok else "not asked for", "see deploy/")


def _status(asked: tuple[str, str, Any], known: tuple[str, str] | None) -> int | None:
    import httpx

    method, url, body = asked
    try:
        return httpx.request(method, url, json=body, auth=known, timeout=30).status_code
    except (httpx.TransportError, httpx.InvalidURL):
        return None


def _ledger() -> list[Finding]:
    url = os.environ.get("ATTESTRL_LEDGER_URL")
    if not url:
        return [Finding("ledger", False, "a file on this machine", "set ATTESTRL_LEDGER_URL (deploy/postgres.sql)")]
    try:
        import psycopg2
    except ImportError:
        return [Finding("ledger", False, "psycopg2 is missing", "pip install psycopg2-binary")]
    try:
        database = psycopg2.connect(url, connect_timeout=10)
    except psycopg2.Error as error:
        said = (str(error).strip().splitlines() or ["it did not say why"])[0]
        return [Finding("ledger", False, said, "start PostgreSQL, or correct ATTESTRL_LEDGER_URL")]
    try:
        with database.cursor() as cursor:
            cursor.execute("SELECT to_regclass('attestrl_ledger')")
            if cursor.fetchone() == (None,):
                return [Finding("ledger", False, "has no table", "psql -f deploy/postgres.sql")]
            may = {p: _may(cursor, p) for p in ("SELECT", "INSERT", *FORBIDDEN)}
    finally:
        database.close()
    useful, excess = may["SELECT"] and may["INSERT"], [p for p in FORBIDDEN if may[p]]
    return [
        Finding("ledger", useful, "can be read and added to" if useful else "may not be read and added to", "GRANT"),
        Finding(
            "ledger: rights",
            not excess,
            f"may {', '.join(excess)}" if excess else "may change nothing",
            "deploy/postgres.sql" if excess else "",
        ),
    ]


def _may(cursor: Any, privilege: str) -> bool:
    cursor.execute("SELECT has_table_privilege('attestrl_ledger', %s)", (privilege,))
    return bool(cursor.fetchone()[0])


def _dvc_remote() -> Finding:
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            remote = repo.cloud.get_remote()
            remote.fs.exists(remote.path)
    except (DvcException, OSError) as error:
        return Finding("DVC remote", False, str(error).splitlines()[0], "dvc remote add -d NAME URL")
    return Finding(
        "DVC remote",
        True,
        f"{remote.fs.protocol}: {remote.path}" if remote.fs.protocol == "local" else str(remote.fs.protocol),
    )
