"""What the sections of `params.yaml` are made of."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]  # it stays where it is put


def _is_whole(value: object, least: int) -> bool:
    """Whether it is a number, as YAML's reader has it, which may be of a class of its own; `true` is none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _auto_or_count(value: object) -> object:
    """One sentence instead of one for each of what it may be."""
    if value != "auto" and not _is_whole(value, 1):
        raise ValueError(f"write auto, or a whole number of 1 or more, not {value!r}")
    return value


CountOrAuto = Annotated[int | Literal["auto"], BeforeValidator(_auto_or_count)]


def _groups_or_distribution(value: object) -> object:
    """As `_auto_or_count`."""
    if value != "distributional" and not _is_whole(value, 0):
        raise ValueError(f"write distributional, or a whole number of 0 or more, not {value!r}")
    return value


GroupsOrDistribution = Annotated[int | Literal["distributional"], BeforeValidator(_groups_or_distribution)]


class Section(BaseModel):
    """A part of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Endpoint(Section):
    """A model behind an OpenAI-compatible endpoint; `key` names the environment variable that holds its key."""

    url: Annotated[str, Field(pattern=r"^https?://")]
    model: str
    key: str = "OPENAI_API_KEY"
    timeout: Positive = 60.0
