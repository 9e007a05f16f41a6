"""The base of all domain values."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A frozen value: unknown fields are errors, `evolve` makes a changed and re-validated copy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def evolve(self, **changes: Any) -> Self:
        """Return a copy with fields replaced, validated again."""
        return type(self).model_validate({**self.model_dump(), **changes})
