"""Start a server in a container with the settings of this folder: `start.py FILE… -- COMMAND…`.

`${NAME}` in the files and in the command comes from the environment, or from the file `name` of the folder SECRETS_FOLDER
(default /run/secrets), as Docker and Kubernetes put secrets there. A `.env` file becomes environment; of any other the
filled copy is written beside the working folder's data, and its path is the variable that is called after it
(`mlflow-auth.ini`: MLFLOW_AUTH_CONFIG).
"""

import os
import string
import sys
from pathlib import Path

PLACES = {"mlflow-auth.ini": "MLFLOW_AUTH_CONFIG"}


def known() -> dict[str, str]:
    """Variables and secrets by name."""
    folder = Path(os.environ.get("SECRETS_FOLDER", "/run/secrets"))
    files = sorted(p for p in folder.glob("*") if p.is_file()) if folder.is_dir() else []
    return {**os.environ, **{p.name.upper(): p.read_text(encoding="utf-8").strip() for p in files}}


def filled(text: str, values: dict[str, str]) -> str:
    """Text without its comments and with its ${…}. Ends the program with a sentence if one is unknown."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    try:
        return string.Template(lines).substitute(values)
    except KeyError as missing:
        sys.exit(f"start.py: {missing.args[0]} is neither a variable nor a secret; see docs/operations.md.")


def main(arguments: list[str]) -> None:
    """Become the command."""
    files, command = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
    values = known()
    settings: dict[str, str] = {}
    for file in sorted((Path(f) for f in files), key=lambda f: f.suffix == ".env"):  # what they speak of comes first
        text = filled(file.read_text(encoding="utf-8"), values)
        if file.suffix == ".env":
            settings |= dict(line.split("=", 1) for line in text.splitlines() if line)
        else:
            target = Path.cwd() / file.name
            target.touch(mode=0o600)
            target.write_text(text, encoding="utf-8")
            values[PLACES[file.name]] = str(target)
    command = [filled(part, values) for part in command]
    os.execvpe(command[0], command, {**os.environ, **settings})


if __name__ == "__main__":
    main(sys.argv[1:])
