"""What the endpoints are sent. Unknown keys are refused, and everything has a bound."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from maclip_runtime.gallery.naming import MAX_NAME_LENGTH

MAX_SOURCE_LENGTH = 300
MAX_AT_ONCE = 100
MAX_ID = 2**53

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]
SourceName = Annotated[str, Field(min_length=1, max_length=MAX_SOURCE_LENGTH)]
Number = Annotated[int, Field(ge=0, le=MAX_ID)]
Numbers = Annotated[list[Number], Field(min_length=1, max_length=MAX_AT_ONCE)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Body(BaseModel):
    """A JSON object without unknown keys."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Login(Body):
    """A token."""

    token: Annotated[str, Field(min_length=1, max_length=200)]


class Region(Body):
    """A part of the picture, as fractions of it."""

    x: Fraction
    y: Fraction
    width: Fraction
    height: Fraction


class Recording(Body):
    """What to record, and for how long."""

    source: SourceName
    seconds: Annotated[float, Field(ge=0.5, le=20, allow_inf_nan=False)] = 3.0


class Keeping(Body):
    """Where a recording belongs. `name` None: it shows none of the actions."""

    name: Name | None
    force: bool = False
    no_text: bool = False


class Assignment(Body):
    """Windows and where they belong. `name` None: they show none of the actions."""

    ids: Numbers
    name: Name | None
    force: bool = False


class Ids(Body):
    """Some windows."""

    ids: Numbers


class Renaming(Body):
    """A class and its new name."""

    old: Name
    new: Name


class Merging(Body):
    """A class, and the one that it becomes part of."""

    source: Name
    target: Name


class Removal(Body):
    """A class."""

    name: Name


class ClipRemoval(Body):
    """A clip of a class; `name` None: a negative."""

    name: Name | None
    id: Number


class Moving(Body):
    """Clips, and the class that they move to."""

    ids: Numbers
    name: Name


class Calibrating(Body):
    """The sources that show background, for how long, and how many false alarms an hour each class may cause."""

    sources: Annotated[list[SourceName], Field(max_length=MAX_AT_ONCE)] = []
    seconds: Annotated[float, Field(ge=1, le=3600, allow_inf_nan=False)] = 60.0
    false_alarms: Annotated[float, Field(ge=0, le=10000, allow_inf_nan=False)] | None = None


class Fault(BaseModel):
    """What an endpoint says where it refuses: a stable code, a sentence, and what to do."""

    code: str
    message: str
    fix: str


class Page(BaseModel):
    """A part of a list, and how long all of it is."""

    total: int
    items: list[dict[str, Any]]
