"""Finds out what the names of a statement mean, and of what types its expressions are.

Every column that is known gets the name of its source before it, and every expression its type (:mod:`kinds`), through WITH,
subqueries, UNNEST and structs. What DuckDB would understand in another way than GoogleSQL is written so that it cannot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from gcp_dicom_emulator.bigquery.sql import coercion, inference, kinds, refusals, select_list, signatures
from gcp_dicom_emulator.bigquery.sql.calls import call, is_aggregate
from gcp_dicom_emulator.bigquery.sql.kinds import Kind
from gcp_dicom_emulator.bigquery.sql.query_errors import invalid_query, position
from gcp_dicom_emulator.bigquery.sql.routines import Function, Functions, mismatch, no_functions, path_of
from gcp_dicom_emulator.bigquery.sql.scopes import RESOLVED, UNNAMED, Columns, Lookup, Output, Scope, Source, check_field, steps
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from sqlglot import exp

#: The queries of the WITHs around a query, by lower-case name.
Common = dict[str, list[Output] | None]

#: What an item of a SELECT's list becomes: expressions, and the columns that each makes, ``None`` when they are not known.
Items = list[tuple[Any, "list[Output] | None"]]


class Resolver:
    """Resolves one statement in place.

    :param lookup: returns the source and the physical table of a table's name in a FROM.
    :param variables: a script's variables, or a function's arguments, by lower-case name.
    :param functions: returns the function of a user's that a path means.
    :param within: the functions whose bodies these are.
    """

    def __init__(
        self,
        lookup: Lookup,
        variables: dict[str, Any] | None = None,
        functions: Functions = no_functions,
        within: tuple[Function, ...] = (),
    ) -> None:
        self._lookup = lookup
        self._variables = variables or {}
        self._functions = functions
        self._within = within
        self._unnests = 0

    def resolve(self, tree: exp.Expr) -> list[Output] | None:
        """Resolve a statement; return the columns of its result when it is a query and they are known."""
        from sqlglot import exp

        if isinstance(tree, exp.Query):
            return self._query(tree, None, {})
        scope, common = Scope(), self._with(tree, None, {})
        if isinstance(tree, exp.Insert):
            self._insert(tree, common)
            return None
        target = tree.this
        if isinstance(target, exp.Table):
            scope.sources.append(self._table(target, scope, common))
        for key in ("from_", "using"):
            if clause := tree.args.get(key):
                self._from(clause.this if isinstance(clause, exp.From) else clause, scope, common)
        for key in ("where", "on"):
            self._condition(tree, key, scope, common)
        columns = scope.sources[0].columns or {} if scope.sources else {}
        self._assignments(tree, columns, scope, common)
        whens = tree.args.get("whens")
        for when in whens.expressions if whens is not None else []:
            self._when(when, columns, scope, common)
        return None

    def _assignments(self, update: exp.Expr, columns: Columns, scope: Scope, common: Common) -> None:
        """Resolve what stands on the right of SET."""
        from sqlglot import exp

        for assignment in update.expressions:
            if isinstance(assignment, exp.EQ):
                value = self._replace(assignment.expression, scope, common)
                _, kind = columns.get(assignment.this.name.lower(), ("", None))
                coercion.check_assigned(
                    value,
                    kinds.of(value),
                    kind,
                    f"Value has type {{own}} which cannot be assigned to {assignment.this.name}, which has type {{to}}",
                )
                if isinstance(assignment.this, exp.Column) and (made := coercion.coerced(value, kind)) is not value:
                    value.replace(made)

    def _when(self, when: exp.Expr, columns: Columns, scope: Scope, common: Common) -> None:
        from sqlglot import exp

        if not when.args.get("matched"):
            # There is no row of the other side.
            scope = Scope(None, scope.sources[:1] if when.args.get("source") else scope.sources[1:])
        self._condition(when, "condition", scope, common)
        then = when.args.get("then")
        if isinstance(then, exp.Update):
            self._assignments(then, columns, scope, common)
        elif isinstance(then, exp.Insert):
            if not isinstance(then.expression, exp.Tuple):
                then.set("expression", _whole_row(scope))
                refusals.check_count(
                    len(then.expression.expressions), then.this.expressions, "Inserted row has wrong column count", then
                )
            named = [columns.get(column.name.lower(), (column.name, None)) for column in then.this.expressions]
            self._row(then.expression, named, scope, common)

    def _insert(self, tree: exp.Insert, common: Common) -> None:
        from sqlglot import exp

        target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
        source = self._table(target, Scope(), common)
        given = tree.expression
        columns = list((source.columns or {}).values())
        if isinstance(tree.this, exp.Schema):
            columns = _named_columns(tree.this, source)
        wanted = [kind for _, kind in columns]
        if isinstance(given, exp.Values):
            for row in given.expressions:
                refusals.check_count(len(row.expressions), columns, "Inserted row has wrong column count", row)
                self._row(row, columns, Scope(), common)
        elif given is not None:
            outputs = self._query(given, None, common)
            if outputs is not None:
                refusals.check_count(len(outputs), columns, "Inserted row has wrong column count", given)
            if outputs is not None and len(outputs) == len(columns):
                for number, (output, (name, to)) in enumerate(zip(outputs, columns, strict=True)):
                    message = (
                        f"Query column {number + 1} has type {{own}} which cannot be inserted into column {name}, "
                        "which has type {to}"
                    )
                    coercion.check_assigned(coercion.item(given, number), output.kind, to, message)
            coercion.coerce_outputs(given, outputs, wanted)

    def _row(self, row: exp.Expr, columns: list[tuple[str, Kind | None]], scope: Scope, common: Common) -> None:
        """Resolve the values that an INSERT writes to columns."""
        for number, item in enumerate(list(row.expressions)):
            value = self._expression(item, scope, common)
            name, to = columns[number] if number < len(columns) else ("", None)
            message = f"Value has type {{own}} which cannot be inserted into column {name}, which has type {{to}}"
            coercion.check_assigned(value, kinds.of(value), to, message)
            row.expressions[number].replace(coercion.coerced(value, to))

    # Queries

    def _query(self, query: exp.Expr, parent: Scope | None, common: Common, *, is_value: bool = False) -> list[Output] | None:
        """Resolve a query and return its columns.

        :param parent: the scope around it.
        :param common: the WITHs around it.
        :param is_value: whether it stands where a value is wanted, so that AS STRUCT makes one.
        """
        from sqlglot import exp

        common = self._with(query, parent, common)
        if isinstance(query, exp.Subquery):
            outputs = self._query(query.this, parent, common, is_value=is_value)
            self._order_of_names(query, outputs, common)
            return outputs
        if isinstance(query, exp.SetOperation):
            return self._set_operation(query, parent, common, is_value=is_value)
        if isinstance(query, exp.Select):
            return self._select(query, parent, common, is_value=is_value)
        for child in list(query.iter_expressions()):
            if isinstance(child, exp.Query):
                self._query(child, parent, common)
        return None

    def _with(self, query: exp.Expr, parent: Scope | None, common: Common) -> Common:
        from sqlglot import exp

        with_ = query.args.get("with_")
        if with_ is None:
            return common
        common = dict(common)
        if with_.args.get("recursive"):
            with_.set("expressions", _in_order(with_.expressions))
        for cte in with_.expressions:
            if with_.args.get("recursive") and isinstance(cte.this, exp.SetOperation):
                common[cte.alias.lower()] = None
                first = cte.this
                while isinstance(first.this, exp.SetOperation):
                    first = first.this
                copied = first.this.copy()
                common[cte.alias.lower()] = self._query(copied, parent, self._with(cte.this.copy(), parent, common))
            outputs = self._query(cte.this, parent, common)
            common[cte.alias.lower()] = _name_all(cte.this, outputs)
        return common

    def _set_operation(
        self, query: exp.SetOperation, parent: Scope | None, common: Common, *, is_value: bool
    ) -> list[Output] | None:
        from sqlglot import exp

        # A chain of unions leans to the left; a loop does not fail on a long one.
        chain: list[Any] = [query]
        while isinstance(chain[-1].this, exp.SetOperation) and chain[-1].this.args.get("with_") is None:
            chain.append(chain[-1].this)
        branches = [chain[-1].this, *(node.expression for node in reversed(chain))]
        mixed = next(
            (
                node
                for node in (*chain, *branches)
                if isinstance(node, exp.SetOperation) and _operation(node) != _operation(query)
            ),
            None,
        )
        if mixed is not None:
            raise invalid_query(
                "Syntax error: Different set operations cannot be used in the same query without using parentheses for grouping "
                f"at {position(mixed)}"
            )
        if _operation(query) in ("INTERSECT ALL", "EXCEPT ALL"):
            raise invalid_query(f"{_operation(query)} is not supported at {position(query)}")
        sides = [self._query(branch, parent, common, is_value=is_value) for branch in branches]
        if query.args.get("by_name"):
            refusals.check_by_name(chain, sides)
        first = sides[0]
        if first is None or any(side is None for side in sides) or query.args.get("by_name"):
            self._order_of_names(query, None, common)
            return None if query.args.get("by_name") else first
        for side in sides[1:]:
            if side is not None and len(side) != len(first):
                raise invalid_query(
                    f"Queries in {_operation(query)} have mismatched column count; query 1 has {len(first)} columns, "
                    f"query 2 has {len(side)} columns at {position(query)}"
                )
        outputs = []
        for number, output in enumerate(first):
            items = [coercion.item(branch, number) for branch in branches]
            found = [(side or first)[number].kind for side in sides]
            signatures.check_columns(items, found, number + 1, _operation(query), position(query))
            outputs.append(Output(output.name, coercion.meeting(items, found)))
        for branch, side in zip(branches, sides, strict=True):
            coercion.coerce_outputs(branch, side, [output.kind for output in outputs])
        for node in chain:
            self._order_of_names(node, outputs, common)
        return outputs

    def _order_of_names(self, query: exp.Expr, outputs: list[Output] | None, common: Common) -> None:
        """Resolve the ORDER BY of a set operation or of a query in parentheses, which sees the columns of its result only."""
        order = query.args.get("order")
        if order is None:
            return
        columns = {out.name.lower(): (out.name, out.kind) for out in outputs if out.name} if outputs is not None else None
        scope = Scope(None, [Source("", columns)])
        for ordered in order.expressions:
            self._child(ordered, "this", scope, common)
            for column in _columns(ordered):
                column.set("table", None)

    def _select(self, select: exp.Select, parent: Scope | None, common: Common, *, is_value: bool) -> list[Output] | None:

        scope = Scope(parent, is_spelled=is_value and select.args.get("kind") == "STRUCT")
        if (from_ := select.args.get("from_")) is not None:
            self._from(from_.this, scope, common)
        for join in select.args.get("joins") or []:
            self._join(join, scope, common)
        refusals.check_sources(scope.sources, select)
        self._condition(select, "where", scope, common)
        aliases: dict[str, exp.Expr] = {}
        items: list[exp.Expr] = []
        outputs: list[Output] | None = []
        for item in select.expressions:
            for made, output in self._item(item, scope, common):
                items.append(made)
                outputs = None if outputs is None or output is None else outputs + output
                if output is not None and not made.is_star:
                    for one in output:
                        select_list.note_alias(aliases, one.name, made)
        select.set("expressions", items)
        if is_value and select.args.get("kind") == "STRUCT":
            select_list.put_aliases(select.args.get("order"), aliases)
        self._clauses(select, scope, common, aliases)
        return self._as_kind(select, outputs, is_value=is_value)

    def _clauses(self, select: exp.Select, scope: Scope, common: Common, aliases: dict[str, exp.Expr]) -> None:
        """Resolve what stands behind the list of a SELECT, and sees its aliases."""
        self._group(select, scope, common, aliases)
        for key in ("having", "qualify"):
            if (clause := select.args.get(key)) is not None:
                select_list.put_aliases(clause, aliases)
                self._condition(select, key, scope, common)
        for window in select.args.get("windows") or []:
            self._expression(window, scope, common)
        if (order := select.args.get("order")) is not None:
            for ordered in order.expressions:
                self._ordered(ordered, scope, common, aliases)
                select_list.note_numbered(ordered.this, select.expressions)
                signatures.check_sorted(ordered.this)
                refusals.check_sorted(ordered.this, select)
            if select.args.get("distinct") is None:
                order.set("expressions", [key for ordered in order.expressions for key in coercion.order_keys(ordered)])
        for key in ("limit", "offset", "distinct"):
            self._child(select, key, scope, common)
        if select.args.get("distinct") is not None:
            signatures.check_columns_of(select)
        select_list.compute_anew(select)

    def _group(self, select: exp.Select, scope: Scope, common: Common, aliases: dict[str, exp.Expr]) -> None:
        from sqlglot import exp

        group = select.args.get("group")
        if group is None:
            return
        if group.args.get("all") and not any(
            item.find(exp.Column, exp.AggFunc, exp.Star, exp.Query) for item in select.expressions
        ):
            # Without keys all rows are one group.
            select.set("group", exp.Group(expressions=[exp.GroupingSets(expressions=[exp.Tuple()])]))
            return
        places = {id(item): number for number, item in enumerate(select.expressions, start=1)}
        if group.args.get("all") and select.args.get("qualify") is not None:
            # DuckDB has not both.
            keys = [number for number, item in enumerate(select.expressions, start=1) if not item.find(exp.AggFunc, exp.Window)]
            select.set("group", exp.Group(expressions=[exp.Literal.number(number) for number in keys]))
            return
        for item in list(group.expressions):
            self._key(item, select, places, scope, common, aliases)
        for key in ("rollup", "cube", "grouping_sets"):
            for part in group.args.get(key) or []:
                select_list.put_aliases(part, aliases)
                self._expression(part, scope, common)

    def _key(
        self, item: Any, select: exp.Select, places: dict[int, int], scope: Scope, common: Common, aliases: dict[str, exp.Expr]
    ) -> None:
        """Resolve a key of GROUP BY.

        :param places: the numbers of the SELECT's items by their ids.
        """
        from sqlglot import exp

        aliased = aliases.get(item.name.lower()) if isinstance(item, exp.Column) and len(item.parts) == 1 else None
        value = aliased.this if isinstance(aliased, exp.Alias) else aliased
        where = "GROUP BY clause is ambiguous; it may refer to multiple columns in the SELECT-list"
        select_list.refuse_ambiguous(item, aliased, f"Name {item.name} in {where}")
        if aliased is not None and value is not None:
            signatures.check_grouped(value)
            if isinstance(value, exp.Column) or any(one.is_star for one in select.expressions):
                item.replace(value.copy())
            else:
                item.replace(exp.Literal.number(places[id(aliased)]))
        elif not isinstance(item, exp.Literal):
            if isinstance(item, (exp.Rollup, exp.Cube, exp.GroupingSets)):
                select_list.put_numbered(item, select.expressions)
                select_list.put_aliases(item, aliases)
            signatures.check_grouped(self._replace(item, scope, common))

    def _ordered(self, ordered: exp.Expr, scope: Scope, common: Common, aliases: dict[str, exp.Expr]) -> None:
        from sqlglot import exp

        what = ordered.this
        if isinstance(what, exp.Column) and len(what.parts) == 1 and what.name.lower() in aliases:
            made = aliases[what.name.lower()]
            select_list.refuse_ambiguous(what, made, f"Column name {what.name} is ambiguous")
            named = exp.column(made.args["alias"].copy()) if isinstance(made, exp.Alias) else made.copy()
            named.meta["means"] = made.this if isinstance(made, exp.Alias) else made
            what.replace(kinds.put(named, kinds.of(made)))
            return
        if not isinstance(what, (exp.Literal, exp.Column)):
            select_list.put_aliases(ordered, aliases)
        self._child(ordered, "this", scope, common)

    def _as_kind(self, select: exp.Select, outputs: list[Output] | None, *, is_value: bool) -> list[Output] | None:
        """Make one value of the columns where SELECT AS STRUCT means one; elsewhere they are columns."""
        from sqlglot import exp

        kind = select.args.get("kind")
        if kind is None:
            return outputs
        select.set("kind", None)
        if kind == "STRUCT" and is_value:
            if any(item.is_star for item in select.expressions):
                raise ApiError(501, "The emulator's SELECT AS STRUCT takes no * of a table whose columns it does not know.")
            members = []
            for item in select.expressions:
                name = item.alias if isinstance(item, exp.Alias) else item.name if isinstance(item, exp.Column) else ""
                value = item.this if isinstance(item, exp.Alias) else item
                members.append(exp.PropertyEQ(this=exp.to_identifier(name, quoted=True), expression=value.copy()))
            struct = exp.Struct(expressions=members)
            kinds.put(struct, inference.infer(struct))
            select.set("expressions", [struct])
            return [Output(None, kinds.of(struct))]
        if kind == "VALUE" and not is_value and outputs is not None and len(outputs) == 1:
            value_kind = outputs[0].kind
            if value_kind is not None and value_kind.name == "STRUCT":
                return self._spread(select, value_kind)
        return outputs

    def _spread(self, select: exp.Select, kind: Kind) -> list[Output]:
        """Write the fields of the one struct that a SELECT AS VALUE has as its columns."""
        from sqlglot import exp

        value = select.expressions[0]
        value = value.this if isinstance(value, exp.Alias) else value
        items = []
        for number, (name, member) in enumerate(kind.members, start=1):
            part = kinds.put(call("struct_extract_at", value.copy(), exp.Literal.number(number)), member)
            items.append(exp.alias_(part, name or f"_field_{number}", quoted=True))
        select.set("expressions", items)
        return [Output(name or None, member) for name, member in kind.members]

    # Lists of SELECT

    def _item(self, item: exp.Expr, scope: Scope, common: Common) -> Items:
        """Resolve an item of a SELECT's list; ``*`` may become several."""
        from sqlglot import exp

        if isinstance(item, exp.Star):
            return self._star(item, scope, common)
        if isinstance(item, (exp.Column, exp.Dot)) and item.is_star:
            return self._dotted_star(item, scope, common)
        name = implicit_name(item)
        made = self._expression(item, scope, common)
        kind = kinds.of(made)
        if isinstance(made, exp.Alias):
            return [(made, [Output(made.alias, kind)])]
        if name is not None and not (isinstance(made, exp.Column) and made.name == name):
            made = kinds.put(exp.alias_(made, name, quoted=True), kind)
        return [(made, [Output(name, kind)])]

    def _star(self, star: exp.Star, scope: Scope, common: Common) -> Items:
        from sqlglot import exp

        outputs = self._outputs(scope)
        self._replacements(star, scope, common)
        refusals.check_star(star, outputs)
        is_plain = not scope.is_spelled and not any(source.is_value or source.hidden for source in scope.sources)
        is_plain = is_plain and not scope.merged and not any(output.inner for output in outputs or [])
        if is_plain and (outputs is None or not _changes(star)):
            return [(star, outputs if not _changes(star) else None)]
        if outputs is None:
            return [(star, None)]
        made: Items = []
        for name in scope.merged:
            column = next((one.columns or {}).get(name, (name, None))[0] for one in scope.sources if one.has(name))
            made += _kept(star, scope.using[name].copy(), Output(column, kinds.of(scope.using[name])))
        for source in scope.sources:
            for number, output in enumerate(source.outputs() or [], start=1):
                name = output.name or ""
                if not name and source.value is not None and source.value.name == "STRUCT":
                    field = kinds.put(exp.paren(source.column(f"_field_{number}")), output.kind)
                    made.append((field, [output]))
                    continue
                if name.lower() in scope.merged:
                    continue
                if output.inner:
                    made.append((source.column(output.inner), [output]))
                    continue
                reference = source.row() if source.is_value and not source.has(name.lower()) else source.column(name)
                if not name:
                    reference = kinds.put(exp.paren(reference), output.kind)
                made += _kept(star, reference, output)
        return made

    def _dotted_star(self, item: exp.Expr, scope: Scope, common: Common) -> Items:
        from sqlglot import exp

        star = item.this if isinstance(item, exp.Column) else item.expression
        self._replacements(star, scope, common)
        if isinstance(item, exp.Column):
            parts = [part for part in item.parts if not isinstance(part, exp.Star)]
            first = parts[0].name.lower()
            for source in scope.sources:
                if len(parts) == 1 and source.is_named and source.alias.lower() == first and not source.is_value:
                    outputs = source.outputs()
                    if outputs is None or not (_changes(star) or source.hidden or scope.is_spelled):
                        return [(item, outputs)]
                    return [pair for output in outputs for pair in _kept(star, source.column(output.name or ""), output)]
            base = scope.find(cast("list[exp.Identifier]", parts))
            if base is None:
                return [(item, None)]
        else:
            base = self._expression(item.this, scope, common)
        kind = kinds.of(base)
        if kind is None or kind.name != "STRUCT":
            if kind is not None:
                raise invalid_query(f"Dot-star is not supported for type {kind} at {position(item)}")
            return [(item, None)]
        found: Items = []
        for name, member in kind.members:
            reference = kinds.put(exp.Dot(this=base.copy(), expression=exp.to_identifier(name, quoted=True)), member)
            found += _kept(star, reference, Output(name, member))
        return found

    def _replacements(self, star: exp.Expr, scope: Scope, common: Common) -> None:
        for alias in star.args.get("replace") or []:
            self._child(alias, "this", scope, common)
            kinds.put(alias, kinds.of(alias.this))

    def _outputs(self, scope: Scope) -> list[Output] | None:
        """Return what ``*`` makes of all sources."""
        found: list[Output] = []
        for source in scope.sources:
            outputs = source.outputs()
            if outputs is None:
                return None
            if scope.using:
                seen = {(out.name or "").lower() for out in found}
                outputs = [out for out in outputs if (out.name or "").lower() not in seen & scope.using.keys()]
            found += outputs
        return found

    # FROM

    def _from(self, node: exp.Expr, scope: Scope, common: Common) -> None:
        from sqlglot import exp

        joins = node.args.get("joins") or []
        if isinstance(node, exp.Unnest):
            self._unnest(node, scope, common)
        elif isinstance(node, exp.Table):
            scope.sources.append(self._table(node, scope, common))
        elif isinstance(node, exp.Subquery) and _is_join(node.this):
            self._from(node.this, scope, common)  # joins in parentheses
        elif isinstance(node, exp.Subquery):
            scope.sources.append(self._subquery(node, scope, common))
        else:
            scope.sources.append(Source(node.alias_or_name, None))
        for join in joins:
            self._join(join, scope, common)

    def _join(self, join: exp.Join, scope: Scope, common: Common) -> None:
        from sqlglot import exp

        self._from(join.this, scope, common)
        using = join.args.get("using") or []
        found = {column.name.lower(): [one for one in scope.sources if one.has(column.name.lower())] for column in using}
        kinds_ = {name: kinds.of(having[0].column(name)) if having else None for name, having in found.items()}
        # In DuckDB's SQL the column may be inside of an UNNEST's value, where USING does not find it, and a NaN is equal to a NaN.
        is_spelled = any(len(having) > 1 and (having[0].is_value or having[-1].is_value) for having in found.values())
        is_spelled = is_spelled or kinds.FLOAT64 in kinds_.values()
        if is_spelled and all(len(having) > 1 for having in found.values()):
            equal = [exp.EQ(this=having[0].column(name), expression=having[-1].column(name)) for name, having in found.items()]
            condition = exp.and_(*equal)
            condition.meta[RESOLVED] = True
            join.set("on", condition)
            join.set("using", None)
            scope.is_spelled = True
            for name, having in found.items():
                left, right = having[0].column(name), having[-1].column(name)
                either = exp.Coalesce(this=left, expressions=[right])
                scope.using[name] = kinds.put({"RIGHT": right, "FULL": either}.get(join.side, left), kinds_[name])
        else:
            for column in using:
                name = column.name.lower()
                scope.using[name] = kinds.put(exp.column(exp.to_identifier(column.name, quoted=True)), kinds_[name])
        for column in using:
            refusals.check_using(column, found[column.name.lower()], scope)
        if all(len(having) > 1 for having in found.values()):
            scope.merged = [*found, *(name for name in scope.merged if name not in found)]
        self._condition(join, "on", scope, common)

    def _subquery(self, node: exp.Subquery, scope: Scope, common: Common) -> Source:
        inner = node.this
        kind = inner.args.get("kind")
        outputs = _name_all(inner, self._query(inner, scope.parent, common))
        self._order_of_names(node, outputs, common)
        alias = node.alias
        if not alias:
            self._unnests += 1
        source = Source(
            alias or f"_query{self._unnests}", _as_columns(outputs), is_named=bool(alias), repeated=_repeated(outputs)
        )
        if not alias and not node.args.get("pivots"):
            from sqlglot import exp

            node.set("alias", exp.TableAlias(this=exp.to_identifier(source.alias, quoted=True)))
        if kind == "VALUE" and outputs is not None and len(outputs) == 1 and not (outputs[0].name and outputs[0].kind is None):
            self._name_value(inner, source, outputs[0].kind)
        return self._pivoted(node, source)

    def _name_value(self, select: exp.Expr, source: Source, kind: Kind | None) -> None:
        """Give the one column of a SELECT AS VALUE a name, by which its source's name means its value."""
        from sqlglot import exp

        if kind is not None and kind.name == "STRUCT":
            return
        item = select.expressions[0]
        value = item.this if isinstance(item, exp.Alias) else item
        select.set("expressions", [exp.alias_(value.copy(), "value", quoted=True)])
        source.columns, source.is_value, source.value, source.value_path = None, True, kind, ("value",)

    def _table(self, table: exp.Table, scope: Scope, common: Common) -> Source:
        from sqlglot import exp

        parts = table.parts if isinstance(table.this, exp.Identifier) else []
        if isinstance(table.this, exp.Anonymous):
            path = [part.name for part in (table.args.get("catalog"), table.args.get("db")) if part is not None]
            if (function := self._functions([*path, *table.this.name.split(".")])) is not None:
                return self._table_of_function(table, function, scope, common)
        if len(parts) == 1 and parts[0].name.lower() in common:
            refusals.check_offset(table)
            outputs = common[parts[0].name.lower()]
            source = Source(table.alias or parts[0].name, _as_columns(outputs), repeated=_repeated(outputs))
            return self._pivoted(table, source)
        if len(parts) > 1 and scope.has_path(parts[0].name.lower()):
            unnest = _unnest_of(table, list(parts))
            table.replace(unnest)
            self._unnest(unnest, scope, common)
            return scope.sources.pop()
        refusals.check_offset(table)
        source, replacement = self._lookup(table)
        for key in ("joins", "pivots"):
            if table.args.get(key):
                replacement.set(key, table.args[key])
        table.replace(replacement)
        return self._pivoted(replacement, source)

    def _pivoted(self, node: exp.Expr, source: Source) -> Source:
        """Return the source that a PIVOT or UNPIVOT makes of another: its columns are DuckDB's to know."""
        pivots = node.args.get("pivots")
        if not pivots:
            return source
        alias = pivots[-1].alias
        return Source(alias or source.alias, None, is_named=bool(alias) or source.is_named)

    def _unnest(self, unnest: exp.Unnest, scope: Scope, common: Common) -> None:
        from sqlglot import exp

        if len(unnest.expressions) != 1:
            raise ApiError(501, "The emulator's UNNEST takes one array.")
        outer = Scope(scope, [])  # the sources before it, and those outside
        array = self._replace(unnest.expressions[0], outer, common)
        kind = kinds.of(array)
        if kind is not None and kind.name not in ("ARRAY", "NULL"):
            raise invalid_query(
                f"Values referenced in UNNEST must be arrays. UNNEST contains expression of type {kind} at {position(unnest)}"
            )
        alias = unnest.args.get("alias")
        named = (alias.columns[0] if alias.columns else alias.this) if alias is not None else None
        self._unnests += 1
        name = named.name if named is not None else f"_unnest{self._unnests}"
        offset = unnest.args.get("offset")
        element = kind.element if kind is not None else None
        source = Source(name, None, is_named=named is not None, is_value=True, value=element, value_path=(name,))
        if offset:
            unnest.set("offset", None)
            source.offset = offset.name if isinstance(offset, exp.Identifier) else "offset"
            source.value_path = (name, "value")
            array.replace(call("bq_with_offset", array.copy()))
        scope.sources.append(source)
        # SQLGlot would write another UNNEST for structs.
        identifier = exp.to_identifier(name, quoted=True)
        alias = exp.TableAlias(this=identifier.copy(), columns=[identifier])
        join = unnest.parent
        if isinstance(join, exp.Join) and join.side and not join.args.get("on") and not join.args.get("using"):
            join.set("on", exp.true())
        table = exp.Table(this=call("unnest", unnest.expressions[0]), alias=alias, joins=unnest.args.get("joins"))
        unnest.replace(table)

    # Expressions

    def _child(self, node: exp.Expr, key: str, scope: Scope, common: Common) -> None:
        from sqlglot import exp

        value = node.args.get(key)
        if isinstance(value, list):
            node.set(key, [self._expression(item, scope, common) if isinstance(item, exp.Expr) else item for item in value])
        elif isinstance(value, exp.Expr):
            made = self._expression(value, scope, common)
            if made is not value:
                node.set(key, made)

    def _condition(self, node: exp.Expr, key: str, scope: Scope, common: Common) -> None:
        """Resolve a clause that is a condition."""
        from sqlglot import exp

        self._child(node, key, scope, common)
        clause = node.args.get(key)
        condition = clause.this if isinstance(clause, (exp.Where, exp.Having, exp.Qualify)) else clause
        signatures.check_condition(condition, {"on": "JOIN ON", "condition": "WHEN"}.get(key, key.upper()))

    def _replace(self, node: exp.Expr, scope: Scope, common: Common) -> exp.Expr:
        made = self._expression(node, scope, common)
        if made is not node:
            node.replace(made)
        return made

    def _expression(self, node: exp.Expr, scope: Scope, common: Common) -> exp.Expr:
        """Resolve an expression; return what takes its place, with its type."""
        from sqlglot import exp

        if node.meta_get(RESOLVED):
            return node
        if isinstance(node, exp.Query):
            return self._value_of_query(node, scope, common)
        if isinstance(node, exp.Column):
            return self._column(node, scope)
        if isinstance(node, (exp.Identifier, exp.Var, exp.DataType)):
            return node
        # A long chain of ANDs or of additions leans to the left; a loop does not fail on it.
        spine = [node]
        while isinstance(spine[-1], exp.Binary) and isinstance(spine[-1].this, exp.Binary):
            if spine[-1].this.meta_get(RESOLVED) or isinstance(spine[-1].this, exp.Dot):
                break
            spine.append(spine[-1].this)
        for part in reversed(spine):
            outer = part.parent
            made = self._parts(part, scope, common, skip="this" if part is not spine[-1] else None)
            if made is not part and part is not node and outer is not None:
                outer.set("this", made)
        return made

    def _parts(self, node: exp.Expr, scope: Scope, common: Common, skip: str | None) -> exp.Expr:
        from sqlglot import exp

        if isinstance(node, exp.Array) and len(node.expressions) == 1 and isinstance(node.expressions[0], exp.Query):
            outputs = self._query(node.expressions[0], scope, common, is_value=True)
            refusals.check_one_column(outputs, node.expressions[0], "ARRAY")
            return kinds.put(node, kinds.array_of(outputs[0].kind if outputs else None))
        if isinstance(node, exp.Exists) and isinstance(node.this, exp.Query):
            self._query(node.this, scope, common)
            return kinds.put(node, kinds.BOOL)
        if isinstance(node, exp.Struct):
            return self._struct(node, scope, common)
        if isinstance(node, exp.SafeFunc):
            return self._safe(node, scope, common)
        if isinstance(node, exp.Unnest):
            self._child(node, "expressions", scope, common)
            return node
        if isinstance(node, (exp.Anonymous, exp.Dot)) and (function := self._functions(path_of(node))) is not None:
            return self._called(node, function, scope, common)
        if isinstance(node, exp.Normalize) and isinstance(node.args.get("form"), exp.Column):
            node.set("form", exp.var(node.args["form"].name))
        for key in node.args:
            if key != skip:
                self._child(node, key, scope, common)
        _order_nan(node)
        if isinstance(node, exp.Dot) and isinstance(node.expression, exp.Identifier):
            check_field(kinds.of(node.this), node.expression)
        signatures.check(node)
        return kinds.put(coercion.meet(node), inference.infer(node))

    def _safe(self, node: exp.SafeFunc, scope: Scope, common: Common) -> exp.Expr:
        """Resolve a SAFE function; what its arguments compute is worked out before it, for their errors are not its own."""
        from sqlglot import exp

        self._child(node, "this", scope, common)
        function: Any = node.this
        outside: list[exp.Expr] = []
        for value in list(function.args.values()) if not is_aggregate(function) else []:
            for item in value if isinstance(value, list) else [value]:
                is_value = isinstance(item, exp.Anonymous) or (isinstance(item, exp.Expr) and kinds.of(item) is not None)
                if is_value and item.find(exp.Func, exp.Div, exp.Query):
                    name = exp.to_identifier(f"a{len(outside)}")
                    column = kinds.put(exp.column(name, table="bq_safe"), kinds.of(item))
                    item.replace(column)
                    outside.append(exp.PropertyEQ(this=name.copy(), expression=item))
        if outside:
            node.set("expressions", [exp.Struct(expressions=outside)])
        return kinds.put(node, inference.infer(node))

    def _called(self, node: exp.Expr, function: Function, scope: Scope, common: Common) -> exp.Expr:
        """Return the body of a user's function with the arguments of a call in it."""
        from sqlglot import exp

        if function.is_table:
            raise invalid_query(f"Table-valued function {function.name} cannot be called here at {position(node)}")
        arguments = self._arguments(node.expression if isinstance(node, exp.Dot) else node, function, scope, common)
        body = parsed(f"SELECT ({function.body})").expressions[0]
        inner = self._inside(function, arguments)
        made = inner._expression(body, Scope(), {})
        self._unnests = inner._unnests
        _refuse_captured(arguments, made, function)
        if function.returns is not None:
            made = _as_declared(made, function.returns, function)
        made = kinds.put(exp.paren(made), kinds.of(made))
        made.meta[RESOLVED] = True
        return made

    def _inside(self, function: Function, arguments: dict[str, exp.Expr]) -> Resolver:
        """Return what resolves a function's body."""
        if function in self._within:
            raise invalid_query(f"Function {function.name} calls itself")
        inner = Resolver(self._lookup, arguments, self._functions, (*self._within, function))
        inner._unnests = self._unnests
        return inner

    def _arguments(self, call_: Any, function: Function, scope: Scope, common: Common) -> dict[str, exp.Expr]:
        """Return the arguments of a call by the names of the parameters, each of the type that was declared."""
        given = [self._expression(argument, scope, common) for argument in call_.expressions]
        if len(given) != len(function.parameters):
            raise mismatch(function, [str(kinds.of(one) or "?") for one in given])
        found = {}
        for (name, kind), value in zip(function.parameters, given, strict=True):
            made = value.copy() if kind is None else _as_declared(value, kind, function)
            made.meta[RESOLVED] = True
            found[name.lower()] = made
        return found

    def _table_of_function(self, table: exp.Table, function: Function, scope: Scope, common: Common) -> Source:
        """Return the source that a call of a table function is."""
        from sqlglot import exp

        if not function.is_table:
            raise invalid_query(f"Table-valued function not found: {function.name}")
        arguments = self._arguments(table.this, function, scope, common)
        query, inner = parsed(function.body), self._inside(function, arguments)
        outputs = inner._query(query, None, {})
        self._unnests = inner._unnests
        alias = table.alias or function.name.rpartition(".")[2]
        identifier = exp.TableAlias(this=exp.to_identifier(alias, quoted=True))
        table.replace(exp.Subquery(this=query, alias=identifier, joins=table.args.get("joins"), pivots=table.args.get("pivots")))
        return Source(alias, _as_columns(outputs))

    def _struct(self, node: exp.Struct, scope: Scope, common: Common) -> exp.Expr:
        """Give the fields of a STRUCT their names: those of the columns that they are, where there are no others."""
        from sqlglot import exp

        members = []
        for member in node.expressions:
            named = isinstance(member, (exp.PropertyEQ, exp.Alias))
            value = (member.expression if isinstance(member, exp.PropertyEQ) else member.this) if named else member
            name = (member.alias if isinstance(member, exp.Alias) else member.name) if named else implicit_name(member) or ""
            made = self._expression(value, scope, common)
            members.append(exp.PropertyEQ(this=exp.to_identifier(name, quoted=True), expression=made))
        node.set("expressions", members)
        return kinds.put(node, inference.infer(node))

    def _value_of_query(self, node: exp.Expr, scope: Scope, common: Common) -> exp.Expr:
        outputs = self._query(node, scope, common, is_value=True)
        refusals.check_one_column(outputs, node, "IN" if node.arg_key == "query" else "Scalar")
        if outputs is not None and len(outputs) == 1:
            kinds.put(node, outputs[0].kind)
        return node

    def _column(self, column: exp.Column, scope: Scope) -> exp.Expr:
        from sqlglot import exp

        if isinstance(column.this, exp.Star):
            return column
        names = [name for part in column.parts for name in _names(part)]
        first = names[0].name.lower()
        if first in self._variables and not scope.has_path(first):
            return steps(self._expression(self._variables[first].copy(), scope, {}), names[1:])
        found = scope.find(names)
        if found is None:
            return column
        found.comments = column.comments
        return found


def _whole_row(scope: Scope) -> exp.Expr:
    """Return all columns of the sources, in their order: ROW."""
    from sqlglot import exp

    found: list[exp.Expr] = []
    for source in scope.sources:
        outputs = source.outputs()
        if outputs is None or any(output.name is None for output in outputs):
            raise ApiError(501, "The emulator's INSERT ROW needs a source whose columns have names that it knows.")
        alias: Any = exp.to_identifier(source.alias, quoted=True)
        is_scalar = source.is_value and (source.value is None or source.value.name != "STRUCT")
        for number, output in enumerate(outputs):
            name: Any = exp.to_identifier(output.name, quoted=True)
            found.append(exp.column(alias.copy()) if is_scalar and number == 0 else exp.column(name, table=alias.copy()))
    return exp.Tuple(expressions=found)


def _as_declared(value: exp.Expr, kind: str, function: Function) -> exp.Expr:
    """Return a value of the type that a function declares, if it becomes that by itself."""
    from sqlglot import exp

    to = kinds.of_type(exp.DataType.build(kind, dialect="bigquery"))
    own = kinds.of(value)
    if own is None or to is None:
        raise ApiError(501, f"The emulator does not know the type of a value of {function.name} here; CAST it.")
    made = coercion.coerced(value, to)
    if kinds.of(made) == kinds.NULL:
        made = coercion.as_type(value, to)
    if str(kinds.of(made)) != str(to):
        raise mismatch(function, [str(own)])
    return made.copy()


def _refuse_captured(arguments: dict[str, exp.Expr], body: exp.Expr, function: Function) -> None:
    """Refuse arguments that would mean something else inside of a function's body, or be worked out twice."""
    from sqlglot import exp

    if any(value.find(exp.Rand, exp.Uuid) for value in arguments.values()):
        raise ApiError(501, f"The emulator takes no random argument of {function.name}.")
    if body.find(exp.Query) is None:
        return
    sources = {node.alias_or_name.lower() for node in body.find_all(exp.Table, exp.Subquery, exp.CTE)}
    for value in arguments.values():
        for column in value.find_all(exp.Column):
            if not column.table or column.table.lower() in sources:
                raise ApiError(501, f"The emulator's {function.name} has a name inside that is one of its arguments'; rename it.")


def parsed(text: str) -> Any:
    """Return the one statement of a text."""
    from gcp_dicom_emulator.bigquery.sql.translation import parse

    return parse(text, legacy=False)[0].copy()


def _named_columns(schema: exp.Schema, source: Source) -> list[tuple[str, Kind | None]]:
    """Return the columns that an INSERT names."""
    columns, seen = [], set()
    for item in schema.expressions:
        name = item.name.lower()
        if name not in (source.columns or {}):
            raise invalid_query(f"Column {item.name} is not present in table {source.alias} at {position(item)}")
        if name in seen:
            raise invalid_query(f"INSERT has columns with duplicate name: {item.name} at {position(item)}")
        seen.add(name)
        columns.append((source.columns or {})[name])
    return columns


def _names(part: exp.Expr) -> list[exp.Identifier]:
    """Return the names of a part of a path, where SQLGlot leaves several together: fields, and what one pair of backticks has."""
    from sqlglot import exp

    if isinstance(part, exp.Dot):
        return [*_names(part.this), *_names(part.expression)]
    if not isinstance(part, exp.Identifier) or "." not in part.name:
        return [cast("exp.Identifier", part)]
    made = [exp.to_identifier(name, quoted=True) for name in part.name.split(".")]
    for name in made:
        name.meta.update(part.meta)
    return made


def _in_order(ctes: list[Any]) -> list[Any]:
    """Return the queries of a WITH RECURSIVE, each behind those that it reads, as DuckDB wants them."""
    from sqlglot import exp

    rest = {cte.alias.lower(): cte for cte in ctes}
    sorted_: list[Any] = []

    def put(name: str) -> None:
        cte = rest.pop(name, None)
        if cte is not None:
            for table in cte.find_all(exp.Table):
                put(table.name.lower())
            sorted_.append(cte)

    for cte in ctes:
        put(cte.alias.lower())
    return sorted_


def _operation(query: exp.SetOperation) -> str:
    """Return the words of a set operation, e.g. ``UNION ALL``."""
    return f"{type(query).__name__.upper()} {'DISTINCT' if query.args.get('distinct') else 'ALL'}"


def _is_join(node: exp.Expr) -> bool:
    """Say whether what stands in parentheses in a FROM is a source with joins, and not a query."""
    from sqlglot import exp

    return isinstance(node, (exp.Table, exp.Unnest)) or (isinstance(node, exp.Subquery) and bool(node.args.get("joins")))


def _changes(star: exp.Expr) -> bool:
    return bool(star.args.get("except_") or star.args.get("replace"))


def _kept(star: exp.Expr, reference: exp.Expr, output: Output) -> Items:
    """Return a column of ``*`` as EXCEPT and REPLACE leave it."""
    from sqlglot import exp

    name = output.name or ""
    if any(left_out.name.lower() == name.lower() for left_out in star.args.get("except_") or []):
        return []
    for alias in star.args.get("replace") or []:
        if alias.alias.lower() == name.lower():
            return [(alias.copy(), [Output(name, kinds.of(alias))])]
    kind = kinds.of(reference)
    if name and not (isinstance(reference, exp.Column) and reference.name == name):
        reference = kinds.put(exp.alias_(reference, name, quoted=True), kind)
    return [(reference, [output])]


def _as_columns(outputs: list[Output] | None) -> Any:
    if outputs is None:
        return None
    return {
        (out.name or out.inner or f"\0{number}").lower(): (out.name or out.inner, out.kind) for number, out in enumerate(outputs)
    }


def _repeated(outputs: list[Output] | None) -> frozenset[str]:
    """Return the lower-case names that several columns have."""
    return frozenset((output.name or "").lower() for output in outputs or [] if output.is_repeated)


def _note_repeated(items: list[Any], outputs: list[Output]) -> None:
    """Note the columns of a query that have a name which another column has; one and the same column may be there twice."""
    found: dict[str, exp.Expr] = {}
    for item, output in zip(items, outputs, strict=True) if not any(item.is_star for item in items) else ():
        name = (output.name or "").lower()
        output.is_repeated = bool(name) and found.setdefault(name, item.unalias()) != item.unalias()


def _name_all(query: exp.Expr, outputs: list[Output] | None) -> list[Output] | None:
    """Give the columns of a query in a FROM that have no name one in DuckDB's SQL, so that ``*`` finds them."""
    from sqlglot import exp

    first = query
    while isinstance(first, (exp.Subquery, exp.SetOperation)):
        first = first.this
    if outputs is None or not isinstance(first, exp.Select) or len(first.expressions) != len(outputs):
        return outputs
    _note_repeated(first.expressions, outputs)
    for number, (item, output) in enumerate(zip(list(first.expressions), outputs, strict=True)):
        if output.name is None and not output.inner and not isinstance(item, exp.Alias):
            output.inner = f"{UNNAMED}{number}"
            first.expressions[number] = kinds.put(exp.alias_(item, output.inner, quoted=True), output.kind)
    first.set("expressions", first.expressions)
    return outputs


def _unnest_of(table: exp.Table, parts: list[Any]) -> exp.Unnest:
    """Return the UNNEST that a path in a FROM means: ``FROM t, t.a AS x``."""
    from sqlglot import exp

    array: exp.Expr = exp.column(parts[1].copy(), table=parts[0].copy())
    for part in parts[2:]:
        array = exp.Dot(this=array, expression=part.copy())
    alias = table.args.get("alias")
    name = alias.this if alias is not None else parts[-1]
    offset = table.meta.get("offset")
    return exp.Unnest(
        expressions=[array], alias=exp.TableAlias(columns=[name.copy()]), joins=table.args.get("joins"), offset=offset
    )


def _order_nan(node: exp.Expr) -> None:
    """Put NaN where GoogleSQL has it in the ORDER BY of an aggregate or a window."""
    from sqlglot import exp

    order = node.args.get("order") if isinstance(node, exp.Window) and not _has_distance(node) else None
    aggregates = (exp.ArrayAgg, exp.ArrayConcatAgg, exp.GroupConcat, exp.Limit)
    if isinstance(node, exp.Order) and isinstance(node.parent, aggregates) and node.args.get("this") is not None:
        order = node
    if order is not None:
        order.set("expressions", [key for ordered in order.expressions for key in coercion.order_keys(ordered)])


def _has_distance(window: exp.Window) -> bool:
    """Say whether a window reaches as far as a distance of values, for which DuckDB takes one key of the order only."""
    spec = window.args.get("spec")
    if spec is None or str(spec.args.get("kind")).upper() != "RANGE":
        return False
    return any(not isinstance(spec.args.get(key), (str, type(None))) for key in ("start", "end"))


def _columns(node: exp.Expr) -> list[Any]:
    from sqlglot import exp

    return list(node.find_all(exp.Column))


def implicit_name(item: exp.Expr) -> str | None:
    """Return the name that an expression without an alias gives to its column: that of a column or a field, also in parentheses."""
    from sqlglot import exp

    while isinstance(item, exp.Paren):
        item = item.this
    if isinstance(item, exp.Column) and not isinstance(item.this, exp.Star):
        return _names(item.this)[-1].name
    if isinstance(item, exp.Dot) and isinstance(item.expression, exp.Identifier):
        return item.expression.name
    return None
