"""What the sections of `params.yaml` are made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]  # it stays where it is put


class Section(BaseModel):
    """A part of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Endpoint(Section):
    """A model behind an OpenAI-compatible endpoint; `key` names the environment variable that holds its key."""

    url: Annotated[str, Field(pattern=r"^https?://")]
    model: str
    key: str = "OPENAI_API_KEY"
    timeout: Positive = 60.0
