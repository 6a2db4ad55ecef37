"""YAML that a person wrote, read strictly: what is no YAML, or names a key twice, is one sentence with its line."""

from pathlib import Path
from typing import Any

from governance.errors import BadInput


def read_text(path: Path) -> str:
    """A text file in UTF-8. Raises BadInput, but FileNotFoundError where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise BadInput(f"{path}: is not UTF-8 text; save it as UTF-8.") from None


def parse(text: str, where: str, *, keep_comments: bool = False) -> Any:
    """The content of a YAML document; `keep_comments` gives ruamel's round-trip mapping. Raises BadInput."""
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import DuplicateKeyError
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return round_trip().load(text) if keep_comments else YAML(typ="safe").load(text)
    except (YAMLError, ValueError) as error:
        mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
        at = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        problem = str(getattr(error, "problem", None) or "cannot be read").split("\n")[0]
        if isinstance(error, DuplicateKeyError):
            raise BadInput(f"{where}:{at} {problem}; keep one of the two.") from None
        raise BadInput(f"{where}:{at} is not valid YAML: {problem}.") from None


def round_trip() -> Any:
    """Reader and writer that keep comments, order and quotes, one line a value."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.representer.add_representer(
        type(None), lambda dumper, _: dumper.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return yaml
