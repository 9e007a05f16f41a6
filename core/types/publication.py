"""What became of a run's winner as a model: exported, uploaded, or kept back with the reasons."""

from pydantic import Field

from core.types.base import Value


class Publication(Value):
    """An export of the confirmed winner. `problems` say why there is none; `note` why it was not uploaded."""

    problems: tuple[str, ...] = ()
    candidate_id: str | None = None
    files: dict[str, str] = Field(default_factory=dict, description="artifact name -> SHA-256")
    checksum: str = ""
    address: str | None = Field(None, description="where on the hub it lies")
    note: str = ""
