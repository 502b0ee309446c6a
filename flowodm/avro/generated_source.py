"""Check generated Python source against a list of what it may contain, before it is used. Pure.

The parts of a schema go into source as literals and as names that were checked before. Should one
get through as code nevertheless, it is refused here: the source is parsed, and every node of the
tree has to be of a kind that the generator writes. Calls and imports have to be its own, too.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from flowodm.exceptions import SchemaValidationError


@dataclass(frozen=True, slots=True)
class Allowed:
    """What one generator may write.

    Attributes:
        nodes: The kinds of nodes.
        called: The names that may be called.
        called_prefixes: The beginnings of names that may be called, each followed by a number.
        methods: The attributes that may be called, whatever they belong to.
        modules: The modules that may be imported from.
        local_classes: Whether the classes of the source itself, and what it imports, may be
            called.
    """

    nodes: frozenset[type[ast.AST]]
    called: frozenset[str]
    called_prefixes: tuple[str, ...] = ()
    methods: frozenset[str] = frozenset()
    modules: frozenset[str] = frozenset()
    local_classes: bool = False


_VALUES = frozenset(
    {
        ast.Module,
        ast.Expr,
        ast.Assign,
        ast.Name,
        ast.Load,
        ast.Store,
        ast.Constant,
        ast.Call,
        ast.keyword,
        ast.Attribute,
        ast.Dict,
        ast.List,
        ast.Tuple,
        ast.Subscript,
        ast.BinOp,
        ast.BitOr,
        ast.UnaryOp,
        ast.USub,
        ast.arguments,
    }
)
_STEPS = frozenset(
    {
        ast.FunctionDef,
        ast.arg,
        ast.Try,
        ast.ExceptHandler,
        ast.AugAssign,
        ast.Compare,
        ast.If,
        ast.While,
        ast.For,
        ast.Break,
        ast.Raise,
        ast.Return,
        ast.Slice,
        ast.Add,
        ast.Sub,
        ast.Mult,
        ast.BitAnd,
        ast.BitXor,
        ast.LShift,
        ast.RShift,
        ast.Eq,
        ast.NotEq,
        ast.Gt,
    }
)
_CLASSES = frozenset({ast.ClassDef, ast.ImportFrom, ast.alias, ast.AnnAssign, ast.Lambda})

READER = Allowed(
    nodes=_VALUES | _STEPS,
    called=frozenset(
        {
            "UUID",
            "day_of",
            "decimal_of",
            "double_at",
            "float_at",
            "from_bytes",
            "len",
            "longer",
            "otherwise",
            "range",
            "time_of",
            "validate",
        }
    ),
    called_prefixes=("build",),
    methods=frozenset({"append", "decode"}),
)
"""A compiled reader."""

MODELS = Allowed(
    nodes=_VALUES | _CLASSES,
    called=frozenset({"float"}),
    methods=frozenset({"model_validate"}),
    modules=frozenset(
        {
            "__future__",
            "builtins",
            "datetime",
            "decimal",
            "enum",
            "flowodm",
            "pydantic",
            "typing",
            "uuid",
        }
    ),
    local_classes=True,
)
"""A module of models."""


def checked(source: str, allowed: Allowed, name: str) -> ast.Module:
    """Parse generated source, and refuse it if it contains anything else than it may.

    Args:
        source: Python source.
        allowed: What it may contain.
        name: What an error calls it.

    Raises:
        SchemaValidationError: It contains something else, or is not valid Python.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        # Python's parser allows about a hundred open brackets.
        raise SchemaValidationError(f"{name}: the schema nests too deeply: {error}") from error
    callables = allowed.called | _local_names(tree) if allowed.local_classes else allowed.called
    for node in ast.walk(tree):
        if type(node) not in allowed.nodes or not _is_allowed(node, allowed, callables):
            line = getattr(node, "lineno", 0)
            raise SchemaValidationError(
                f"{name}: refused, as its schema would become code: "
                f"{type(node).__name__} in line {line} of the generated source"
            )
    return tree


def _local_names(tree: ast.Module) -> frozenset[str]:
    """Return the classes that a module defines, and the names that it imports."""
    names = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in node.names)
    return frozenset(names)


def _is_allowed(node: ast.AST, allowed: Allowed, callables: frozenset[str]) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module in allowed.modules
    if isinstance(node, ast.ClassDef):
        return not node.decorator_list and not node.keywords
    if not isinstance(node, ast.Call):
        return True
    if isinstance(node.func, ast.Attribute):
        return node.func.attr in allowed.methods
    if not isinstance(node.func, ast.Name):
        return False
    return node.func.id in callables or _is_numbered(node.func.id, allowed.called_prefixes)


def _is_numbered(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(
        name.startswith(prefix) and name.removeprefix(prefix).isdigit() for prefix in prefixes
    )
