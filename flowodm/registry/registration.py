"""Which schema a writer writes with, and the id that its records carry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowodm.exceptions import SchemaRegistryError
from flowodm.registry.answers import NotThereError

if TYPE_CHECKING:
    from flowodm.registry.client import SchemaRegistry


@dataclass(frozen=True, slots=True)
class Registration:
    """How the writers of one subject come to their schema's id.

    Attributes:
        subject: The registry's subject.
        auto_register: Whether a schema that the subject does not have is registered; otherwise
            that is an error.
        use_latest_version: Whether records are written with the subject's latest schema instead
            of the model's own; nothing is registered then, whatever ``auto_register`` says.
        schema_type: ``AVRO`` or ``JSON``.
    """

    subject: str
    auto_register: bool = True
    use_latest_version: bool = False
    schema_type: str = "AVRO"

    def obtain(self, registry: SchemaRegistry, own: Any) -> tuple[int, Any]:
        """The id to write, and exactly the schema that it stands for. Blocks.

        Args:
            registry: Who is asked.
            own: The model's schema, as JSON data.

        Raises:
            SchemaCompatibilityError: The subject does not accept the schema.
            RegistryUnavailableError: The registry does not answer now.
            SchemaRegistryError: It refuses, or the subject does not have what it should.
        """
        try:
            if self.use_latest_version:
                return registry.latest(self.subject, self.schema_type)
            if not self.auto_register:
                return registry.lookup(self.subject, own, self.schema_type), own
        except NotThereError as error:
            lacks = "no schema" if self.use_latest_version else "not this schema"
            raise SchemaRegistryError(
                f"subject {self.subject} has {lacks}: register it (Model.register_schema(), or "
                f"`flowodm upload-schema`), or set auto_register = True and use_latest_version "
                f"= False in the model's Settings ({error})"
            ) from error
        return registry.register(self.subject, own, self.schema_type), own
