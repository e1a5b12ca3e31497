"""The base of all types of the resource, and what several of them refer to."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from modelpress.api.values import Name


class ApiModel(BaseModel):
    """Base of all resource types: frozen, camelCase on the wire, CEL rules in `cel`."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)
    cel: ClassVar[tuple[dict[str, str], ...]] = ()

    def to_wire(self) -> dict[str, Any]:
        """Return the set fields that differ from their defaults, in camelCase: stable across releases."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)


class LocalReference(ApiModel):
    """A reference to an object of the same namespace."""

    name: Name = Field(description="Name of the object in the namespace of the ModelDeployment.")
