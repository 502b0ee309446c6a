"""Validate models, compare, upload and list schemas, and generate models from schemas."""

from flowodm.schema.files import load_schema_from_file
from flowodm.schema.generate import (
    generate_model_from_registry,
    generate_model_from_schema,
    generate_model_source,
)
from flowodm.schema.results import CompatibilityResult, ValidationResult
from flowodm.schema.subjects import (
    delete_subject,
    get_schema_versions,
    list_subjects,
    load_schema_from_registry,
    upload_schema,
)
from flowodm.schema.validate import (
    check_compatibility,
    validate_against_file,
    validate_against_registry,
)

__all__ = [
    "CompatibilityResult",
    "ValidationResult",
    "check_compatibility",
    "delete_subject",
    "generate_model_from_registry",
    "generate_model_from_schema",
    "generate_model_source",
    "get_schema_versions",
    "list_subjects",
    "load_schema_from_file",
    "load_schema_from_registry",
    "upload_schema",
    "validate_against_file",
    "validate_against_registry",
]
