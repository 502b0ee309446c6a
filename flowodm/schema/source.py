"""Write the source of a Python module with the model of a schema. Pure.

A record becomes a model, an enum a StrEnum, and so on; docs/types.md has the table. The module
also holds the schema's text, and messages are written with that. So types that are the same in
Python (int and long, milliseconds and microseconds, fixed and bytes) stay those of the schema.
"""

from __future__ import annotations

import builtins
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowodm.avro.generated_source import MODELS, checked
from flowodm.avro.logical_types import TUPLE
from flowodm.avro.names import LEGAL_NAME, short_name
from flowodm.avro.parsing import kind_of, logical_of, named_types, parsed, parsed_record
from flowodm.exceptions import SchemaValidationError
from flowodm.schema.defaults import NoDefaultError, expression, quoted
from flowodm.schema.naming import class_name, field_names, member_names

if TYPE_CHECKING:
    import ast
    from collections.abc import Container, Mapping

_WIDTH = 100
_INDENT = "    "
_PLAIN = {
    "null": "None",
    "boolean": "bool",
    "int": "int",
    "long": "int",
    "float": "float",
    "double": "float",
    "string": "str",
    "bytes": "bytes",
}
_LOGICAL = {
    "date": ("datetime", "date"),
    "time-millis": ("datetime", "time"),
    "time-micros": ("datetime", "time"),
    "timestamp-millis": ("datetime", "datetime"),
    "timestamp-micros": ("datetime", "datetime"),
    "local-timestamp-millis": ("pydantic", "NaiveDatetime"),
    "local-timestamp-micros": ("pydantic", "NaiveDatetime"),
    "timedelta-micros": ("datetime", "timedelta"),
    "uuid": ("uuid", "UUID"),
}
_FIRST_PARTY = ("flowodm", "pydantic")


@dataclass(frozen=True, slots=True)
class _Line:
    """A line that knows its depth; None: it is inside a text of several lines."""

    text: str
    depth: int | None = 0


Block = list[_Line]


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A module's text, the same as a syntax tree, and the name of the model in it."""

    text: str
    tree: ast.Module
    class_name: str


def model_source(
    schema: Any,
    *,
    topic: str,
    reserved: Container[str],
    class_name: str | None = None,
    consumer_group: str | None = None,
) -> ModelSource:
    """Write the module of a record's schema.

    Args:
        schema: Avro's JSON form as data.
        topic: The topic of the messages.
        reserved: Names that no field can have, such as the methods of the base class.
        class_name: The name of the model; by default the record's.
        consumer_group: The group in the model's Settings.

    Raises:
        SchemaValidationError: The schema is not valid, or not that of a record, or a default
            does not fit its field, or ``class_name`` cannot be used.
    """
    full = parsed(schema)
    if kind_of(full) != "record":
        raise SchemaValidationError(f"a model needs the schema of a record, got {kind_of(full)}")
    parsed_record(schema)  # refuse a schema that no codec would accept
    module = _Module(full, reserved, class_name)
    settings = _settings(_laid_out(schema, ""), topic, consumer_group)
    text = module.text(settings)
    return ModelSource(text, checked(text, MODELS, full["name"]), module.class_of(full))


def _settings(text: str, topic: str, group: str | None) -> Block:
    lines = [_Line("class Settings:"), _Line(f"topic = {quoted(topic)}", 1)]
    if group is not None:
        lines.append(_Line(f"consumer_group = {quoted(group)}", 1))
    # JSON text has no three quotes in a row, and in a raw string its backslashes stay.
    lines.append(_Line('avro_schema = r"""', 1))
    lines += [_Line(line, None) for line in text.split("\n")]
    lines.append(_Line('"""', None))
    return lines


@dataclass(slots=True)
class _Module:
    """A module while it is written; all names are chosen before the first line."""

    root: dict[str, Any]
    reserved: Container[str]
    root_name: str | None
    named: dict[str, dict[str, Any]] = field(init=False)
    fields: dict[str, dict[str, str]] = field(init=False)
    classes: dict[str, str] = field(init=False)
    members: dict[str, dict[str, str]] = field(init=False)
    imports: dict[tuple[str, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.named = named_types(self.root)
        self.fields = {
            name: field_names([f["name"] for f in schema["fields"]], self.reserved)
            for name, schema in self.named.items()
            if "fields" in schema
        }
        self.members = {
            name: member_names(schema["symbols"])
            for name, schema in self.named.items()
            if schema["type"] == "enum"
        }
        self.classes = {}
        # A class must not hide a builtin that annotations use.
        taken = self._taken() | set(dir(builtins)) | {"annotations"}
        for name in reversed(self.named):  # the root first, so that it keeps its name
            if _has_class(self.named[name]):
                wanted = self.root_name if name == self.root["name"] else None
                self.classes[name] = (
                    _checked(wanted, taken)
                    if wanted
                    else class_name(name.rpartition(".")[2], taken)
                )
                taken.add(self.classes[name])

    def _taken(self) -> set[str]:
        # In a class body, an annotation would find the field, or Settings, instead of a class.
        fields = {python for names in self.fields.values() for python in names.values()}
        return fields | {"Settings", "model_config"}

    def text(self, settings: Block) -> str:
        """Return the source of the whole module."""
        classes = [self._class(schema, settings) for schema in self.named.values()]
        body = "\n\n\n".join(text for text in classes if text)
        title = f'"""{self.class_of(self.root)}, generated from its Avro schema."""'
        return f"{title}\n\nfrom __future__ import annotations\n\n{self._imports()}\n\n\n{body}\n"

    # The names for defaults and annotations.

    def use(self, module: str, name: str) -> str:
        """Import a name; return its local name, which differs if a field has the same name."""
        if (module, name) not in self.imports:
            taken = {*self._taken(), *self.classes.values()}
            local = name
            while local in taken:
                local = f"_{local}"
            self.imports[module, name] = local
        return self.imports[module, name]

    def class_of(self, schema: Mapping[str, Any]) -> str:
        """Return the class of a record or an enum."""
        return self.classes[schema["name"]]

    def member_of(self, schema: Mapping[str, Any], symbol: str) -> str:
        """Return the enum's member of a symbol."""
        return self.members[schema["name"]][symbol]

    def definition(self, schema: Any) -> Any:
        """Return the schema that a name stands for, or the schema itself."""
        return self.named.get(schema, schema) if isinstance(schema, str) else schema

    # The parts of the text.

    def _class(self, schema: dict[str, Any], settings: Block) -> str:
        if not _has_class(schema):
            return ""
        if schema["type"] == "enum":
            return self._enum(schema)
        is_root = schema["name"] == self.root["name"]
        base = (
            self.use("flowodm", "FlowBaseModel") if is_root else self.use("pydantic", "BaseModel")
        )
        blocks = [_docstring(schema.get("doc"))]
        if is_root:
            blocks.append(settings)
        else:
            config = self.use("pydantic", "ConfigDict")
            blocks.append(
                [_Line(f'model_config = {config}(extra="forbid", populate_by_name=True)')]
            )
        blocks.append([line for f in schema["fields"] for line in self._field(schema, f)])
        return self._assembled(schema, base, blocks)

    def _enum(self, schema: dict[str, Any]) -> str:
        members = [
            _Line(f"{self.member_of(schema, symbol)} = {quoted(symbol)}")
            for symbol in schema["symbols"]
        ]
        blocks = [_docstring(schema.get("doc")), members]
        return self._assembled(schema, self.use("enum", "StrEnum"), blocks)

    def _assembled(self, schema: dict[str, Any], base: str, blocks: list[Block]) -> str:
        name = self.class_of(schema)
        short = short_name(schema["name"])
        if name != short or list(map(short_name, self.named)).count(short) > 1:
            # The writer of a union finds the branch of the class by this name.
            blocks.insert(1, [_Line(f"__avro_name__ = {quoted(schema['name'])}")])
        bodies = [_indented(block) for block in blocks if block] or [f"{_INDENT}pass"]
        return f"class {name}({base}):\n" + "\n\n".join(bodies)

    def _field(self, record: dict[str, Any], schema: dict[str, Any]) -> Block:
        name = self.fields[record["name"]][schema["name"]]
        line = f"{name}: {self._annotation(schema['type'])}"
        arguments = [] if name == schema["name"] else [f"alias={quoted(schema['name'])}"]
        if schema.get("doc"):
            arguments.append(f"description={quoted(str(schema['doc']))}")
        default = self._default(record, schema)
        if not arguments and not default.startswith("default_factory"):
            return [_Line(f"{line} = {default}" if default else line)]
        arguments = [default, *arguments] if default else arguments
        call = self.use("pydantic", "Field")
        short = f"{line} = {call}({', '.join(arguments)})"
        if len(short) + len(_INDENT) <= _WIDTH:
            return [_Line(short)]
        inner = [_Line(f"{argument},", 1) for argument in arguments]
        return [_Line(f"{line} = {call}("), *inner, _Line(")")]

    def _default(self, record: dict[str, Any], schema: dict[str, Any]) -> str:
        if "default" not in schema:
            return ""
        try:
            value = expression(schema["type"], schema["default"], self)
        except NoDefaultError:
            raise SchemaValidationError(
                f"{record['name']}.{schema['name']}: the default "
                f"{json.dumps(schema['default'])} is not of the field's type"
            ) from None
        return f"default_factory=lambda: {value.text}" if value.fresh else value.text

    def _annotation(self, schema: Any) -> str:
        schema = self.definition(schema)
        if isinstance(schema, list):
            # Types that are the same in Python once, and None at the end.
            shown = dict.fromkeys(map(self._annotation, schema))
            return " | ".join(sorted(shown, key=lambda text: text == "None")) or "None"
        if isinstance(schema, str):
            return self._builtin(_PLAIN[schema])
        if logical_of(schema) == TUPLE:
            items = ", ".join(self._annotation(field["type"]) for field in schema["fields"])
            return f"{self._builtin('tuple')}[{items}]"
        return self._logical(schema) or self._composed(schema)

    def _composed(self, schema: dict[str, Any]) -> str:
        match schema["type"]:
            case "array":
                return f"{self._builtin('list')}[{self._annotation(schema['items'])}]"
            case "map":
                key = self._builtin("str")
                return f"{self._builtin('dict')}[{key}, {self._annotation(schema['values'])}]"
            case "fixed":
                limits = f"min_length={schema['size']}, max_length={schema['size']}"
                return self._constrained(self._builtin("bytes"), limits)
            case "record" | "error" | "enum":
                return self.class_of(schema)
            case inner:
                return self._annotation(inner)

    def _logical(self, schema: dict[str, Any]) -> str | None:
        logical = logical_of(schema)
        if logical == "decimal":
            digits, places = schema["precision"], schema.get("scale", 0)
            return self._constrained(
                self.use("decimal", "Decimal"), f"max_digits={digits}, decimal_places={places}"
            )
        return self.use(*_LOGICAL[logical]) if logical else None

    def _constrained(self, annotation: str, constraints: str) -> str:
        return (
            f"{self.use('typing', 'Annotated')}"
            f"[{annotation}, {self.use('pydantic', 'Field')}({constraints})]"
        )

    def _builtin(self, name: str) -> str:
        return name if name == "None" else self.use("builtins", name)

    def _imports(self) -> str:
        names: dict[str, list[str]] = {}
        for (module, name), local in sorted(self.imports.items()):
            if module != "builtins" or local != name:
                shown = name if name == local else f"{name} as {local}"
                names.setdefault(module, []).append(shown)
        standard: list[str] = []
        others: list[str] = []
        for module, shown_names in names.items():
            group = others if module in _FIRST_PARTY else standard
            group.append(f"from {module} import {', '.join(shown_names)}")
        return "\n\n".join("\n".join(group) for group in (standard, others) if group)


def _has_class(schema: dict[str, Any]) -> bool:
    return schema["type"] != "fixed" and logical_of(schema) != TUPLE


def _checked(name: str, taken: Container[str]) -> str:
    if not LEGAL_NAME.fullmatch(name) or class_name(name, ()) != name or name in taken:
        raise SchemaValidationError(
            f"class_name={name!r}: choose another name, an identifier without a leading "
            "underscore that is not the name of a field"
        )
    return name


def _docstring(doc: Any) -> Block:
    if not isinstance(doc, str) or not doc.strip():
        return []
    plain = doc.isprintable() and doc.isascii() and "\\" not in doc and '"' not in doc
    return [_Line(f'"""{doc}"""' if plain else ascii(doc))]


def _laid_out(value: Any, margin: str, key: str = "") -> str:
    """Return JSON text with each value in one line, if it fits there with its key and a comma."""
    line = key + json.dumps(value)
    if len(margin) + len(line) < _WIDTH or not value or not isinstance(value, dict | list):
        return line
    inner = f"{margin}  "
    if isinstance(value, list):
        parts = [_laid_out(item, inner) for item in value]
        start, end = "[]"
    else:
        parts = [_laid_out(item, inner, f"{json.dumps(name)}: ") for name, item in value.items()]
        start, end = "{}"
    body = ",\n".join(f"{inner}{part}" for part in parts)
    return f"{key}{start}\n{body}\n{margin}{end}"


def _indented(block: Block) -> str:
    """Return the text of a block in the body of a class."""
    return "\n".join(
        line.text if line.depth is None else f"{_INDENT * (line.depth + 1)}{line.text}"
        for line in block
    )
