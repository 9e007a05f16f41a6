"""What a report is made of: sections of blocks. Both renderers (HTML, Markdown) draw exactly these."""

from typing import Annotated, Literal

from pydantic import Field

from core.types.base import Value

Status = Literal["good", "neutral", "bad"]


class Cell(Value):
    """A table's cell. `refs` are the evaluations that its number comes from; `url` makes it a link."""

    text: str
    refs: tuple[str, ...] = ()
    url: str | None = None
    kind: Literal["text", "number", "code", "chip"] = "text"


class Paragraph(Value):
    """Prose."""

    type: Literal["paragraph"] = "paragraph"
    text: str
    refs: tuple[str, ...] = ()
    quiet: bool = False


class Callout(Value):
    """The sentence that a reader must not miss."""

    type: Literal["callout"] = "callout"
    status: Status
    title: str
    text: str
    refs: tuple[str, ...] = ()


class Fact(Value):
    """One large number with its label."""

    label: str
    value: str
    note: str = ""
    refs: tuple[str, ...] = ()


class Facts(Value):
    """A row of large numbers."""

    type: Literal["facts"] = "facts"
    facts: tuple[Fact, ...]


class Table(Value):
    """A table with a caption."""

    type: Literal["table"] = "table"
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    muted: tuple[int, ...] = Field((), description="rows to draw in gray")
    wide: bool = False


class Figure(Value):
    """A drawing, its caption and the name of its data file."""

    type: Literal["figure"] = "figure"
    name: str
    caption: str
    svg: str
    alt: str
    data: str = ""


class Code(Value):
    """Text to be copied as it is."""

    type: Literal["code"] = "code"
    language: str
    text: str
    caption: str = ""


class Bullets(Value):
    """A list of short sentences."""

    type: Literal["bullets"] = "bullets"
    items: tuple[str, ...]


Block = Annotated[Paragraph | Callout | Facts | Table | Figure | Code | Bullets, Field(discriminator="type")]


class Section(Value):
    """A titled part of the report."""

    id: str
    title: str
    blocks: tuple[Block, ...]


class Document(Value):
    """A whole report. `references` are the evaluations cited, by short id."""

    title: str
    subtitle: str
    language: Literal["en", "zh"]
    lead: tuple[Block, ...]
    sections: tuple[Section, ...]
    labels: dict[str, str]
