"""A recipe is mergekit YAML (merging.md, 'Rules'): a user can rerun it with mergekit alone."""

import hashlib
import json
from typing import Any

import yaml
from pydantic import Field

from core.errors import InvalidInputError
from core.types.base import Value


class Recipe(Value):
    """A method with its parameters, as the mapping that mergekit reads."""

    method: str
    config: dict[str, Any] = Field(description="mergekit configuration: merge_method, base_model, models, …")

    @classmethod
    def from_yaml(cls, text: str) -> "Recipe":
        """Read a mergekit YAML document; raise InvalidInputError when it is not one."""
        try:
            config = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InvalidInputError(f"The recipe is not YAML: {error}") from error
        if not isinstance(config, dict) or not isinstance(config.get("merge_method"), str):
            raise InvalidInputError("The recipe has no merge_method.", fix="Hand in a mergekit configuration.")
        return cls(method=config["merge_method"], config=config)

    def to_yaml(self) -> str:
        """Return the recipe as mergekit YAML."""
        return yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True)

    @property
    def digest(self) -> str:
        """Return a content hash that does not depend on the order of keys."""
        return hashlib.sha256(json.dumps(self.config, sort_keys=True).encode()).hexdigest()[:16]
