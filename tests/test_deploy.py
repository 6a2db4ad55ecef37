"""`deploy/` as written: versions are pinned, servers are reached from this machine or cluster alone, secrets are files, and
what names something names what is there. Whether containers run is not tried here."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"
PINNED = re.compile(r"[a-z/-]+:\d+\.\d+(\.\d+)?[\w.-]*")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
OBJECTS = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8")))


def made_secrets(folder: Path) -> dict[str, str]:
    """What make_secrets.sh makes, by name."""
    script = folder / "make_secrets.sh"
    script.write_bytes((DEPLOY / "make_secrets.sh").read_bytes())
    subprocess.run(["sh", str(script)], check=True)
    return {p.name: p.read_text() for p in (folder / "secrets").iterdir()}


def test_compose_serves_this_machine_alone_with_pinned_versions_and_secrets_from_files(tmp_path: Path) -> None:
    secrets = made_secrets(tmp_path)
    assert {Path(s["file"]).name for s in COMPOSE["secrets"].values()} == set(secrets)
    for name, service in COMPOSE["services"].items():
        assert PINNED.fullmatch(service["image"]), name
        assert all(p.startswith("127.0.0.1:") for p in service.get("ports", [])), name
        assert set(service["secrets"]) <= set(COMPOSE["secrets"]), name
        assert set(service.get("depends_on", {})) <= set(COMPOSE["services"]), name
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert (DEPLOY / source).is_file() if source.startswith(".") else source in COMPOSE["volumes"], volume


def test_secrets_are_random_and_stay(tmp_path: Path) -> None:
    first = made_secrets(tmp_path)
    assert len(set(first.values())) == len(first)
    assert min(map(len, first.values())) >= 48
    assert made_secrets(tmp_path) == first
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700


def pods() -> dict[str, dict[str, Any]]:
    """Templates of pods by name."""
    return {o["metadata"]["name"]: o["spec"]["template"] for o in OBJECTS if "template" in o.get("spec", {})}


def test_kubernetes_objects_name_what_is_there() -> None:
    (maps,) = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())["configMapGenerator"]
    assert all((DEPLOY / f).is_file() for f in maps["files"])
    claims = {o["metadata"]["name"] for o in OBJECTS if o["kind"] == "PersistentVolumeClaim"}
    services = {o["metadata"]["name"]: o["spec"] for o in OBJECTS if o["kind"] == "Service"}
    assert set(services) == set(pods()) == set(COMPOSE["services"]) - {"proxy"}  # in a cluster an ingress is in front
    for name, pod in pods().items():
        (container,) = pod["spec"]["containers"]
        assert "type" not in services[name], "reached from outside the cluster"
        assert services[name]["selector"] == pod["metadata"]["labels"]
        assert services[name]["ports"][0]["port"] == container["ports"][0]["containerPort"]
        assert container["image"] == COMPOSE["services"][name]["image"]
        assert {"requests", "limits"} <= set(container["resources"])
        volumes = {v["name"]: v for v in pod["spec"]["volumes"]}
        of_set = {"data"} if name == "postgres" else set()
        assert {m["name"] for m in container["volumeMounts"]} <= set(volumes) | of_set
        for volume in volumes.values():
            assert volume.get("secret", {}).get("secretName", "attestrl-secrets") == "attestrl-secrets"
            assert volume.get("configMap", {}).get("name", maps["name"]) == maps["name"]
            assert volume.get("persistentVolumeClaim", {}).get("claimName", "mlflow-artifacts") in claims


def started(folder: Path, files: list[str], command: list[str], **more: str) -> subprocess.CompletedProcess[str]:
    """What start.py does in a container, with the secrets of a folder."""
    environment = {"PATH": os.environ["PATH"], "SECRETS_FOLDER": str(folder / "secrets"), **more}
    arguments = [sys.executable, str(DEPLOY / "start.py"), *(str(DEPLOY / f) for f in files), "--", *command]
    return subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_servers_get_their_settings_from_files_of_secrets(tmp_path: Path) -> None:
    secrets = made_secrets(tmp_path)
    show = [sys.executable, "-c", "import os,sys; print(sys.argv[1]); print(os.environ)", "${MLFLOW_PASSWORD}"]
    hosts = {"POSTGRES_HOST": "postgres", "POSTGRES_PORT": "5432"}
    done = started(tmp_path, ["mlflow.env", "mlflow-auth.ini"], show, **hosts)
    assert done.stdout.splitlines()[0] == secrets["mlflow_password"], done.stderr
    assert f"'MLFLOW_AUTH_CONFIG_PATH': '{tmp_path / 'mlflow-auth.ini'}'" in done.stdout
    assert secrets["mlflow_admin_password"] in done.stdout
    assert (
        f"mlflow:{secrets['mlflow_password']}@postgres:5432/mlflow_auth" in (tmp_path / "mlflow-auth.ini").read_text()
    )
    assert (tmp_path / "mlflow-auth.ini").stat().st_mode & 0o077 == 0
    (tmp_path / "secrets/mlflow_secret").unlink()
    refused = started(tmp_path, ["mlflow.env", "mlflow-auth.ini"], show, **hosts)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("start.py: MLFLOW_SECRET is neither a variable nor a secret")


def test_every_server_is_started_with_files_that_are_there() -> None:
    for name in ("prefect", "mlflow"):
        for command in (COMPOSE["services"][name]["command"], pods()[name]["spec"]["containers"][0]["args"]):
            files = command[: command.index("--")]
            assert files
            assert all((DEPLOY / Path(f).name).is_file() for f in files)
