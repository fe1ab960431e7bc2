"""Functions that users define in SQL: what they are, and what a call of one becomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.sql import grammar
from gcp_dicom_emulator.bigquery.sql.query_errors import invalid_query
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from sqlglot import exp

Resource = dict[str, Any]

_ANY = "ANY_TYPE"
#: What of a ``Routine`` the emulator would have to obey, and does not.
_UNSUPPORTED = ("importedLibraries", "remoteFunctionOptions", "sparkOptions", "pythonOptions", "externalRuntimeOptions")


@dataclass(frozen=True)
class Function:
    """A function.

    :param name: its path, as errors show it.
    :param parameters: the names, and the types as GoogleSQL writes them; ``None`` for any type.
    :param returns: the type of its result; ``None`` for that of its body.
    :param body: an expression, or the query of a table function.
    :param is_table: whether it makes a table.
    :param project: whose datasets names in the body mean that have no project.
    """

    name: str
    parameters: tuple[tuple[str, str | None], ...]
    returns: str | None
    body: str
    is_table: bool
    project: str


#: Returns the function that a path of names means, ``None`` when it is none of a user's.
Functions = Callable[[list[str]], "Function | None"]


def no_functions(_path: list[str]) -> Function | None:
    """Return that there are none."""
    return None


def checked(resource: Resource) -> Resource:
    """Return a ``Routine`` that the emulator can keep.

    :raises ApiError: 400 for one that lacks something, 501 for what the emulator does not do.
    """
    kind, language = resource.get("routineType"), resource.get("language") or "SQL"
    if kind not in ("SCALAR_FUNCTION", "TABLE_VALUED_FUNCTION", "PROCEDURE") or language != "SQL":
        raise ApiError(501, f"The emulator has functions and procedures in SQL only, no routine of type {kind} in {language}.")
    for key in _UNSUPPORTED:
        if resource.get(key):
            raise ApiError(501, f"The emulator's routines do not do {key}.")
    if not resource.get("definitionBody"):
        raise ApiError(400, "Required parameter is missing: definitionBody", reason="required")
    for argument in resource.get("arguments") or []:
        if argument.get("mode") not in (None, "MODE_UNSPECIFIED", "IN") or argument.get("argumentKind") == "FIXED_TABLE":
            raise ApiError(501, "The emulator's routines take values only.")
    return {**resource, "language": language}


def function_of(resource: Resource, project: str) -> Function:
    """Return the function that a ``Routine`` is."""
    reference = resource["routineReference"]
    parameters = tuple(
        (argument["name"], None if argument.get("argumentKind") == _ANY else type_text(argument.get("dataType") or {}))
        for argument in resource.get("arguments") or []
    )
    returns = type_text(resource["returnType"]) if resource.get("returnType") else None
    name = ".".join(reference[key] for key in ("projectId", "datasetId", "routineId"))
    is_table = resource["routineType"] == "TABLE_VALUED_FUNCTION"
    return Function(name, parameters, returns, resource["definitionBody"], is_table, project)


def type_text(kind: Resource) -> str:
    """Return a ``StandardSqlDataType`` as GoogleSQL writes it."""
    name = kind.get("typeKind")
    if name == "ARRAY":
        return f"ARRAY<{type_text(kind.get('arrayElementType') or {})}>"
    if name == "RANGE":
        return f"RANGE<{type_text(kind.get('rangeElementType') or {})}>"
    if name == "STRUCT":
        fields = (kind.get("structType") or {}).get("fields") or []
        return "STRUCT<" + ", ".join(f"{field.get('name', '')} {type_text(field['type'])}".strip() for field in fields) + ">"
    if not name:
        raise ApiError(400, "Required parameter is missing: typeKind", reason="required")
    return str(name)


def described(kind: exp.DataType) -> Resource:
    """Return a type in a statement as a ``StandardSqlDataType``."""
    from sqlglot import exp

    name = kind.sql("bigquery").partition("<")[0].partition("(")[0]
    if name == "ARRAY":
        return {"typeKind": "ARRAY", "arrayElementType": described(kind.expressions[0])}
    if name == "RANGE":
        return {"typeKind": "RANGE", "rangeElementType": described(kind.expressions[0])}
    if name == "STRUCT":
        members = [
            {"name": one.name, "type": described(one.args["kind"])}
            if isinstance(one, exp.ColumnDef)
            else {"type": described(one)}
            for one in kind.expressions
        ]
        return {"typeKind": "STRUCT", "structType": {"fields": members}}
    return {"typeKind": name}


def resource_of(tree: exp.Create) -> tuple[Resource, bool]:
    """Return the ``Routine`` of a CREATE FUNCTION, without its reference, and whether it is a temporary one.

    :raises ApiError: 501 for what the emulator does not do.
    """
    from sqlglot import exp

    function, body = tree.this, tree.expression
    is_table = bool(tree.meta.get("is_table_function"))
    resource: Resource = {"routineType": "TABLE_VALUED_FUNCTION" if is_table else "SCALAR_FUNCTION", "language": "SQL"}
    is_temporary = False
    for prop in tree.args["properties"].expressions if tree.args.get("properties") else []:
        if isinstance(prop, exp.TemporaryProperty):
            is_temporary = True
        elif isinstance(prop, exp.ReturnsProperty) and isinstance(prop.this, exp.DataType) and not is_table:
            resource["returnType"] = described(prop.this)
        elif type(prop) is exp.Property and prop.name.lower() == "description":
            resource["description"] = prop.args["value"].name
        else:
            raise ApiError(501, f"The emulator's CREATE FUNCTION does not do {prop.sql('bigquery')}.")
    if body is None or (not is_table and not isinstance(body, (exp.Paren, exp.Subquery, exp.Tuple))):
        raise ApiError(501, "The emulator has functions in SQL only, whose expression is in parentheses.")
    resource["arguments"] = (
        [_argument(one) for one in function.expressions] if isinstance(function, exp.UserDefinedFunction) else []
    )
    resource["definitionBody"] = grammar.written(body.unnest() if is_table else body.this)
    return resource, is_temporary


def _argument(definition: exp.Expr) -> Resource:
    from sqlglot import exp

    kind = definition.args.get("kind") if isinstance(definition, exp.ColumnDef) else None
    if not isinstance(kind, exp.DataType) or definition.args.get("constraints"):
        raise ApiError(501, f"The emulator's CREATE FUNCTION does not do {definition.sql('bigquery')}.")
    if kind.sql("bigquery").upper() == "ANY TYPE":
        return {"name": definition.name, "argumentKind": _ANY}
    return {"name": definition.name, "dataType": described(kind)}


def path_of(call: exp.Expr) -> list[str]:
    """Return the names in the path of a function's call, none when it is not one that a user may have defined."""
    from sqlglot import exp

    if isinstance(call, exp.Dot) and isinstance(call.expression, exp.Anonymous):
        before = call.this
        names = [part.name for part in (before.parts if isinstance(before, (exp.Column, exp.Dot)) else [before])]
        return [*names, call.expression.name]
    return call.name.split(".") if isinstance(call, exp.Anonymous) else []


def mismatch(function: Function, found: list[str]) -> ApiError:
    """Return the error of a call with arguments that a function does not take."""
    wanted = ", ".join(kind or "ANY TYPE" for _, kind in function.parameters)
    return invalid_query(
        f"No matching signature for function {function.name} for argument types: {', '.join(found) or '(none)'}. "
        f"Supported signature: {function.name}({wanted})"
    )
