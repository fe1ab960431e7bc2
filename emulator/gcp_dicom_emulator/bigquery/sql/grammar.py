"""GoogleSQL's grammar: SQLGlot's, with what that does not read."""

from __future__ import annotations

import functools
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

from gcp_dicom_emulator.bigquery.sql import lexis
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from sqlglot import Dialect, exp

#: The functions of GoogleSQL among those that SQLGlot knows for all dialects; those that it has for BigQuery come to them.
_WORDS = """
ABS ACOS ACOSH ANY_VALUE APPROX_COUNT_DISTINCT APPROX_QUANTILES APPROX_TOP_SUM ARRAY_AGG ARRAY_CONCAT ARRAY_CONCAT_AGG
ARRAY_FILTER ARRAY_FIRST ARRAY_LAST ARRAY_LENGTH ARRAY_MAX ARRAY_MIN ARRAY_REVERSE ARRAY_SLICE ARRAY_SUM ARRAY_TO_STRING ASCII
ASIN ASINH ATAN ATAN2 ATANH AVG BYTE_LENGTH CASE CAST CBRT CEIL CEILING CHARACTER_LENGTH CHAR_LENGTH CHR COALESCE
CODE_POINTS_TO_BYTES CODE_POINTS_TO_STRING COLLATE CONCAT CORR COS COSH COSINE_DISTANCE COT COTH COUNT COUNTIF COVAR_POP
COVAR_SAMP CSC CSCH CUME_DIST CURRENT_DATE CURRENT_DATETIME CURRENT_TIME CURRENT_TIMESTAMP DATE_FROM_UNIX_DATE DEGREES
DENSE_RANK ENDS_WITH EUCLIDEAN_DISTANCE EXISTS EXP EXTRACT FARM_FINGERPRINT FIRST_VALUE FLATTEN FLOAT64 FLOOR FORMAT FROM_BASE32
FROM_BASE64 GAP_FILL GENERATE_DATE_ARRAY GENERATE_TIMESTAMP_ARRAY GENERATE_UUID GREATEST GROUPING IF IFNULL INITCAP INSTR INT64
IS_INF IS_NAN JSON_ARRAY_APPEND JSON_ARRAY_INSERT JSON_EXTRACT JSON_OBJECT JSON_REMOVE JSON_SET JSON_TYPE JUSTIFY_DAYS
JUSTIFY_HOURS JUSTIFY_INTERVAL LAG LAST_VALUE LAX_BOOL LAX_FLOAT64 LAX_INT64 LAX_STRING LEAD LEAST LEFT LIKE LN LOG LOG10
LOGICAL_AND LOGICAL_OR LOWER LPAD LTRIM MAX MAX_BY MIN MIN_BY MOD NORMALIZE NTH_VALUE NTILE NULLIF PARSE_BIGNUMERIC PARSE_JSON
PARSE_NUMERIC PERCENTILE_CONT PERCENTILE_DISC PERCENT_RANK PI POW POWER RADIANS RAND RANGE_BUCKET RANK REGEXP_INSTR
REGEXP_REPLACE REPEAT REPLACE REVERSE RIGHT ROUND ROW_NUMBER RPAD RTRIM SAFE_ADD SAFE_CAST SAFE_CONVERT_BYTES_TO_STRING
SAFE_DIVIDE SAFE_MULTIPLY SAFE_NEGATE SAFE_SUBTRACT SEC SECH SESSION_USER SIGN SIN SINH SOUNDEX SQRT STARTS_WITH STDDEV
STDDEV_POP STDDEV_SAMP STRING STRING_AGG STRUCT ST_DISTANCE SUBSTR SUBSTRING SUM TAN TANH TIMESTAMP_DIFF TIME_DIFF TIME_TRUNC
TO_BASE32 TO_BASE64 TO_CODE_POINTS TRIM TRUNC TYPEOF UNICODE UNIX_DATE UNIX_MICROS UNIX_MILLIS UNIX_SECONDS UNNEST UPPER
VARIANCE VAR_POP VAR_SAMP
"""
_NAMES = frozenset(_WORDS.split())

#: What SQLGlot's tokenizer knows of other dialects: operators, words, types (``~`` is a space). To GoogleSQL they are plain names, if
#: anything.
_OTHERS = """
{% {%+ {%- %} +%} -%} {{+ {{- +}} -}} == :: ?:: <=> ->> #> #>> <-> <<->> && ?? ~~~ ~~ ~~* ~* -|- &< &>
ANTI APPLY ASOF AUTOINCREMENT AUTO_INCREMENT CACHE CONNECT~BY DISTRIBUTE~BY FETCH FILTER GLOB ILIKE KEEP LATERAL LOCK NATURAL NOTNULL
OPERATOR OVERLAPS PRAGMA PREWHERE REGEXP RETURNING RLIKE SEMI SETTINGS SIMILAR~TO SORT~BY STRAIGHT_JOIN UNCACHE VACUUM XOR
BIGNUM BINARY BIT BLOB BPCHAR BYTE BYTEA CHAR CHAR~VARYING CHARACTER CHARACTER~VARYING CLOB DATEMULTIRANGE DATERANGE DEC DECFLOAT
DECIMAL128 DECIMAL256 DECIMAL32 DECIMAL64 DOUBLE DOUBLE~PRECISION FIXED FLOAT FLOAT4 FLOAT8 GEOMETRY HUGEINT INET INT1 INT128 INT16
INT2 INT256 INT32 INT4 INT4MULTIRANGE INT4RANGE INT8 INT8MULTIRANGE INT8RANGE JSONB LIST LONG LONGBLOB LONGTEXT LONGVARCHAR MAP
MEDIUMBLOB MEDIUMINT MEDIUMTEXT NCHAR NULLABLE NUMBER NUMMULTIRANGE NUMRANGE NVARCHAR NVARCHAR2 REAL SHORT STR TEXT TIMESTAMPLTZ
TIMESTAMPNTZ TIMESTAMPTZ TIMESTAMP_LTZ TIMESTAMP_NTZ TIMETZ TIME_NS TINYBLOB TINYTEXT TSMULTIRANGE TSRANGE TSTZMULTIRANGE TSTZRANGE
UHUGEINT UINT UINT128 UINT256 USER-DEFINED UUID VARBINARY VARCHAR VARCHAR2 VARIANT VECTOR
"""
_FOREIGN = frozenset(_OTHERS.split())


#: What stands before the quotes of a raw text, or of raw bytes.
_RAW = (
    "r",
    "R",
    *(one + other for pair in ("rb", "br") for one in (pair[0], pair[0].upper()) for other in (pair[1], pair[1].upper())),
)


@functools.cache
def googlesql() -> type[Dialect]:
    """Return the dialect that reads statements."""
    from sqlglot import exp
    from sqlglot.dialects.bigquery import BigQuery
    from sqlglot.generators.bigquery import BigQueryGenerator
    from sqlglot.parser import Parser
    from sqlglot.parsers.bigquery import BigQueryParser
    from sqlglot.tokenizer_core import TokenType

    names = _NAMES | _changed(BigQueryParser.FUNCTIONS, Parser.FUNCTIONS)
    names |= BigQueryParser.FUNCTION_PARSERS.keys() - Parser.FUNCTION_PARSERS.keys()
    without = (exp.CurrentDate, exp.CurrentDatetime, exp.CurrentTime, exp.CurrentTimestamp)
    bits = {"BIT_AND": exp.BitwiseAndAgg, "BIT_OR": exp.BitwiseOrAgg, "BIT_XOR": exp.BitwiseXorAgg}

    class GoogleSQLTokenizer(BigQuery.Tokenizer):
        KEYWORDS = _without_foreign(BigQuery.Tokenizer.KEYWORDS)
        RAW_STRINGS: ClassVar[list[Any]] = [(prefix + quote, quote) for prefix in _RAW for quote in ("'", '"', '"""', "'''")]

    class GoogleSQLParser(BigQueryParser):
        COLUMN_OPERATORS: ClassVar[dict[Any, Any]] = {TokenType.DOT: None}
        STRING_PARSERS = {**BigQueryParser.STRING_PARSERS, TokenType.RAW_STRING: lexis.raw}
        PRIMARY_PARSERS = {
            **BigQueryParser.PRIMARY_PARSERS,
            TokenType.RAW_STRING: lexis.raw,
            TokenType.BYTE_STRING: lexis.escaped_bytes,
        }
        UNARY_PARSERS = {**BigQueryParser.UNARY_PARSERS, TokenType.PLUS: lambda self: _positive(self._parse_unary())}
        ALTER_TABLE_MIXED_ACTIONS = True
        FACTOR: ClassVar[dict[Any, Any]] = {TokenType.SLASH: exp.Div, TokenType.STAR: exp.Mul}
        FUNCTIONS = {
            **{name: function for name, function in BigQueryParser.FUNCTIONS.items() if name in names},
            "FORMAT_DATE": _formatting("FORMAT_DATE", exp.TsOrDsToDate),
            "FORMAT_DATETIME": _formatting("FORMAT_DATETIME", exp.TsOrDsToDatetime),
            "FORMAT_TIME": _formatting("FORMAT_TIME", exp.TsOrDsToTime),
            "FORMAT_TIMESTAMP": _formatting("FORMAT_TIMESTAMP", exp.TsOrDsToTimestamp),
            "PARSE_DATE": _parsing("PARSE_DATE", exp.StrToDate),
            "PARSE_DATETIME": _parsing("PARSE_DATETIME", exp.ParseDatetime),
            "PARSE_TIME": _parsing("PARSE_TIME", exp.ParseTime),
            "PARSE_TIMESTAMP": _parsing("PARSE_TIMESTAMP", exp.StrToTime),
        }
        FUNCTION_PARSERS = {
            **{name: reader for name, reader in BigQueryParser.FUNCTION_PARSERS.items() if name in names},
            **{name: _with_mode(function) for name, function in bits.items()},
            "JSON_OBJECT": _json_object,
            "CONTAINS_SUBSTR": _contains_substr,
        }
        TYPE_LITERAL_PARSERS: ClassVar[dict[Any, Any]] = {exp.DType.JSON: lambda _, this, __: _json_literal(this)}
        NO_PAREN_FUNCTIONS = {token: made for token, made in BigQueryParser.NO_PAREN_FUNCTIONS.items() if made in without}

        def _parse_create(self) -> Any:
            """Read CREATE; of a FUNCTION, note whether it is a TABLE FUNCTION."""
            begins = self._tokens[self._index : self._index + 4]
            made = super()._parse_create()
            made.meta["is_table_function"] = ("TABLE", "FUNCTION") in pairwise(_words(begins))
            return made

        def _parse_drop(self, *arguments: Any, **options: Any) -> Any:
            """Read DROP TABLE FUNCTION as DROP FUNCTION, and DROP EXTERNAL TABLE."""
            if self._match_text_seq("EXTERNAL"):
                dropped = super()._parse_drop(*arguments, **options)
                dropped.set("kind", f"EXTERNAL {dropped.args.get('kind')}")
                return dropped
            if self._match_pair(TokenType.TABLE, TokenType.FUNCTION, advance=False):
                self._advance()
            return super()._parse_drop(*arguments, **options)

        _parse_cast = _cast

        def _parse_limit(self, *args: Any, **more: Any) -> Any:
            """Read LIMIT; ``LIMIT 1, 2`` is another dialect's."""
            return _without_offset(self, super()._parse_limit(*args, **more))

        def _implicit_unnests_to_explicit(self, this: Any) -> Any:
            """Leave the paths in a FROM to the resolver, which knows what they mean."""
            return this

        def _parse_table(self, *args: Any, **more: Any) -> Any:
            """Read a source of a FROM; a path that is an array may have WITH OFFSET."""
            table = super()._parse_table(*args, **more)
            if isinstance(table, exp.Table) and self._match_pair(TokenType.WITH, TokenType.OFFSET):
                self._match(TokenType.ALIAS)
                table.meta["offset"] = self._parse_id_var(
                    any_token=False, tokens=self.UNNEST_OFFSET_ALIAS_TOKENS
                ) or exp.to_identifier("offset")
            return table

    class GoogleSQLGenerator(BigQueryGenerator):
        TRANSFORMS = {
            **BigQueryGenerator.TRANSFORMS,
            exp.ParseDatetime: _with_format("PARSE_DATETIME"),
            exp.ParseTime: _with_format("PARSE_TIME"),
            exp.StrToDate: _with_format("PARSE_DATE"),
            exp.StrToTime: _with_format("PARSE_TIMESTAMP"),
            exp.TimeToStr: _formatted,
        }

    class GoogleSQL(BigQuery):
        Parser = GoogleSQLParser
        Tokenizer = GoogleSQLTokenizer
        Generator = GoogleSQLGenerator

    return GoogleSQL


def _positive(value: exp.Expr) -> exp.Expr:
    """Return what stands behind a ``+``: what is negated twice, for only numbers are."""
    from sqlglot import exp

    is_number = isinstance(value, exp.Literal) and not value.is_string
    return value if is_number else exp.Neg(this=exp.Neg(this=value))


def _cast(self: Any, strict: bool, safe: bool | None = None) -> exp.Expr:
    """Read CAST; of one with a FORMAT, SQLGlot would make what DuckDB reads by other rules."""
    from sqlglot import exp
    from sqlglot.tokenizer_core import TokenType

    this = self._parse_assignment()
    if not self._match(TokenType.ALIAS):
        self.raise_error("Expected AS after CAST")
    to = self._parse_types(with_collation=True)
    if not to:
        self.raise_error("Expected TYPE after CAST")
    if isinstance(to, exp.Identifier):
        to = exp.DataType.from_str(to.name, dialect=self.dialect, udt=True)
    form: Any = self._parse_bitwise() if self._match(TokenType.FORMAT) else None
    zone = form.args["zone"] if isinstance(form, exp.AtTimeZone) else None
    made: exp.Expr = self.build_cast(strict=strict, this=this, to=to, format=form.this if zone else form, safe=safe)
    made.set("zone", zone)
    return made


def _without_offset(parser: Any, limit: Any) -> Any:
    """Refuse a LIMIT with a comma."""
    from sqlglot import exp

    if isinstance(limit, exp.Limit) and limit.args.get("offset"):
        parser.raise_error("Unexpected ,", parser._prev)
    return limit


def _words(tokens: list[Any]) -> list[str]:
    return [token.text.upper() for token in tokens]


def _changed(functions: dict[str, Any], others: dict[str, Any]) -> set[str]:
    """Return the names of functions that others do not have, or have in another way."""
    return {name for name, function in functions.items() if function is not others.get(name)}


def _without_foreign(words: dict[str, Any]) -> dict[str, Any]:
    return {word: kind for word, kind in words.items() if word.replace(" ", "~") not in _FOREIGN}


def _json_literal(read: Any) -> exp.Expr:
    """Return a literal of JSON with the fields and elements behind it, which SQLGlot takes for those of its text."""
    from sqlglot import exp

    literal = read
    while isinstance(literal, (exp.Dot, exp.Bracket)):
        literal = literal.this
    made = exp.ParseJSON(this=literal.copy(), is_literal=True)
    if literal is read:
        return made
    literal.replace(made)
    return read  # type: ignore[no-any-return]


def _json_object(parser: Any) -> exp.Expr:
    """Read the arguments of JSON_OBJECT: keys and values."""
    from sqlglot import exp

    arguments = parser._parse_csv(parser._parse_lambda)
    if len(arguments) == 2 and isinstance(arguments[0], exp.Array):
        keys, values = arguments[0].expressions, getattr(arguments[1], "expressions", [])
        if not isinstance(arguments[1], exp.Array) or len(keys) != len(values):
            raise ApiError(501, "The emulator's JSON_OBJECT takes arrays of keys and of values as literals of one length.")
        arguments = [one for pair in zip(keys, values, strict=True) for one in pair]
    if len(arguments) % 2:
        parser.raise_error("JSON_OBJECT needs a value for each key")
    pairs = [exp.JSONKeyValue(this=key, expression=value) for key, value in zip(arguments[::2], arguments[1::2], strict=True)]
    return exp.JSONObject(expressions=pairs)


def _contains_substr(parser: Any) -> exp.Expr:
    """Read CONTAINS_SUBSTR, of whose arguments SQLGlot makes lower-case texts."""
    from sqlglot import exp

    value, searched, *options = parser._parse_csv(parser._parse_lambda)
    return exp.Contains(this=value, expression=searched, json_scope=options[0] if options else None)


def written(node: exp.Expr) -> str:
    """Return the text of a part of a statement, to be read again."""
    return node.sql(googlesql())


def _with_format(name: str) -> Any:
    """Return what writes a call of PARSE_DATE or its like, with the format as it is."""
    return lambda generator, node: generator.func(name, node.args["format"], node.this, node.args.get("zone"))


def _formatted(generator: Any, node: exp.TimeToStr) -> str:
    """Write a call of FORMAT_DATE or its like, with the format as it is."""
    from sqlglot import exp

    names = {exp.TsOrDsToDate: "DATE", exp.TsOrDsToDatetime: "DATETIME", exp.TsOrDsToTime: "TIME"}
    name = f"FORMAT_{names.get(type(node.this), 'TIMESTAMP')}"
    return str(generator.func(name, node.args["format"], node.this.this, node.args.get("zone")))


def _formatting(name: str, around: type[exp.Expr]) -> Any:
    """Return what reads the arguments of FORMAT_DATE and its like; of their formats SQLGlot makes those of another language."""

    def read(arguments: list[Any]) -> exp.Expr:
        from sqlglot import exp

        if not 2 <= len(arguments) <= (3 if around is exp.TsOrDsToTimestamp else 2):
            raise ApiError(400, f"No matching signature for function {name}", reason="invalidQuery")
        form, value, zone = [*arguments, None][:3]
        return exp.TimeToStr(this=around(this=value), format=form, **({"zone": zone} if zone else {}))

    return read


def _parsing(name: str, function: type[exp.Expr]) -> Any:
    """Return what reads the arguments of PARSE_DATE and its like; of their formats SQLGlot makes those of another language."""

    def read(arguments: list[Any]) -> exp.Expr:
        from sqlglot import exp

        if len(arguments) > (3 if function is exp.StrToTime else 2):
            raise ApiError(400, f"No matching signature for function {name}", reason="invalidQuery")
        form, value, zone = [*arguments, None, None, None][:3]
        if isinstance(zone, exp.Kwarg):
            raise ApiError(501, f"The emulator's {name} has no named arguments.")
        return function(this=value, format=form, zone=zone) if zone else function(this=value, format=form)

    return read


def _with_mode(function: type[exp.Expr]) -> Any:
    """Return what reads an aggregate's arguments; its mode is kept beside it."""

    def read(parser: Any) -> exp.Expr:
        from sqlglot import exp

        value, *modes = parser._parse_csv(parser._parse_lambda)
        made = function(this=value)
        if len(modes) == 1 and isinstance(modes[0], exp.Kwarg) and modes[0].this.name.lower() == "mode":
            made.meta["mode"] = modes[0].expression.name.upper()
        elif modes:
            parser.raise_error("Too many arguments")
        return made

    return read
