"""The project folder a command works on: found from the current folder upwards; parameters edited in place."""

import os
from io import StringIO
from pathlib import Path
from typing import Any

from governance.digest import write_atomic
from governance.errors import BadInput
from tasks import environment, params, paths, yaml_reader

SHIPPED = Path(__file__).resolve().parent.parent


def enter() -> Path:
    """Go to the project folder (the nearest with `dvc.yaml` and `params.yaml`) and prepare its environment."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").is_file() and (folder / paths.PARAMS).is_file():
            os.chdir(folder)
            environment.prepare()
            return folder
    raise BadInput(
        f"{here}: neither this folder nor one above it has dvc.yaml and params.yaml; go to a project folder."
    )


def settings() -> params.Params:
    """Parameters of the project around the current folder, or the shipped ones outside a project."""
    here = Path.cwd()
    found = next((f / paths.PARAMS for f in (here, *here.parents) if (f / paths.PARAMS).is_file()), None)
    return params.load(found or SHIPPED / paths.PARAMS)


def set_params(overlay: Path | None, assignments: list[str]) -> None:
    """Write the values of a file and `key=value` pairs into `params.yaml`, where DVC, git and the records see them.

    Comments and order stay. Nothing is written if the result is not valid, or nothing is given.
    """
    if overlay is None and not assignments:
        return
    document = yaml_reader.parse(yaml_reader.read_text(paths.PARAMS), str(paths.PARAMS), keep_comments=True)
    if not isinstance(document, dict):
        raise BadInput(f"{paths.PARAMS}: has no keys; restore it from git.")
    if overlay is not None:
        _merge(document, _read_overlay(overlay))
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator or not key:
            raise BadInput(f"--set {assignment}: is not key=value, as in --set ppo.kl_coef=0.1.")
        _assign(document, key.split("."), yaml_reader.parse(text, f"--set {assignment}"), assignment)
    params.parse(_plain(document), "--params and --set" if overlay else "--set")
    written = StringIO()
    yaml_reader.round_trip().dump(document, written)
    write_atomic(paths.PARAMS, written.getvalue())


def _read_overlay(path: Path) -> dict[str, Any]:
    if path.is_dir():
        raise BadInput(f"{path}: is a folder; name a YAML file with --params.")
    try:
        content = yaml_reader.parse(yaml_reader.read_text(path), str(path))
    except FileNotFoundError:
        raise BadInput(f"{path}: there is no such file; name a YAML file with --params.") from None
    if not isinstance(content, dict):
        raise BadInput(f"{path}: has no keys; a parameters file holds sections as params.yaml does.")
    return content


def _merge(into: Any, values: dict[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict) and value and isinstance(into.get(key), dict):  # {} takes away what was there
            _merge(into[key], value)
        else:
            into[key] = value


def _assign(document: Any, path: list[str], value: Any, assignment: str) -> None:
    section = document
    for name in path[:-1]:
        if not isinstance(section, dict) or not isinstance(section.get(name), dict):
            raise BadInput(f"--set {assignment}: params.yaml has no section {name}.")
        section = section[name]
    section[path[-1]] = value


def _plain(document: Any) -> Any:
    if isinstance(document, dict):
        return {str(k): _plain(v) for k, v in document.items()}
    return [_plain(v) for v in document] if isinstance(document, list) else document
