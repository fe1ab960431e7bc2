"""BigQuery's functions that depend on the type of their argument, as macros of DuckDB.

SQLGlot translates without knowing types, so a cast of anything to a string looks alike to it, while BigQuery writes a FLOAT64, a
NUMERIC and a TIMESTAMP in other ways than DuckDB. ``typeof`` is known when DuckDB plans a query: of each CASE one branch is left.
Clients cannot call macros; the translation lets no function pass that BigQuery does not have.
"""

from __future__ import annotations

#: Names, parameters and bodies; one may use those before it.
MACROS = [
    # CAST(x AS STRING). Fractions of a second have no, three or six digits.
    r"""
    bq_string(x) AS CASE typeof(x)
        WHEN 'VARCHAR' THEN CAST(x AS VARCHAR)
        WHEN 'BIGINT' THEN CAST(x AS VARCHAR)
        WHEN 'DOUBLE' THEN
            CASE WHEN TRY_CAST(x AS DOUBLE) = 0 THEN '0' ELSE regexp_replace(CAST(x AS VARCHAR), '\.0$', '') END
        WHEN 'BLOB' THEN decode(CAST(x AS BLOB))
        WHEN 'JSON' THEN CAST(x AS JSON) ->> '$'
        ELSE CASE
            WHEN typeof(x) LIKE 'DECIMAL%' THEN rtrim(regexp_replace(CAST(x AS VARCHAR), '(\.\d*?)0+$', '\1'), '.')
            WHEN typeof(x) LIKE 'TIME%' THEN regexp_replace(
                regexp_replace(CAST(x AS VARCHAR), '(\.(?:\d|\d{4}))(\+00)?$', '\100\2'),
                '(\.(?:\d\d|\d{5}))(\+00)?$', '\10\2'
            )
            ELSE CAST(x AS VARCHAR)
        END
    END
    """,
    # What FORMAT's %t writes.
    "bq_text(x) AS CASE typeof(x) WHEN 'DOUBLE' THEN CAST(x AS VARCHAR) ELSE bq_string(x) END",
    # SAFE_CAST(x AS INT64): a text must be a whole number, and a half is rounded away from zero.
    r"""
    bq_try_int64(x) AS CASE typeof(x)
        WHEN 'VARCHAR' THEN
            CASE WHEN regexp_full_match(CAST(x AS VARCHAR), '\s*[-+]?(\d+|0[xX][0-9a-fA-F]+)\s*') THEN TRY_CAST(x AS BIGINT) END
        WHEN 'DOUBLE' THEN TRY_CAST(round(TRY_CAST(x AS DOUBLE)) AS BIGINT)
        ELSE TRY_CAST(x AS BIGINT)
    END
    """,
    """
    bq_int64(x) AS CASE
        WHEN x IS NOT NULL AND bq_try_int64(x) IS NULL THEN error('Bad int64 value: ' || CAST(x AS VARCHAR))
        ELSE bq_try_int64(x)
    END
    """,
    # An INT64 in JSON: DuckDB would round.
    """
    bq_whole(x) AS CASE
        WHEN x = trunc(x) THEN CAST(x AS BIGINT)
        WHEN x IS NOT NULL THEN error('Could not convert value to integer. Value: ' || bq_string(x))
    END
    """,
    # SAFE_CAST(x AS BOOL)
    """
    bq_try_bool(x) AS CASE typeof(x)
        WHEN 'VARCHAR' THEN CASE lower(CAST(x AS VARCHAR)) WHEN 'true' THEN true WHEN 'false' THEN false END
        ELSE TRY_CAST(x AS BOOLEAN)
    END
    """,
    """
    bq_bool(x) AS CASE
        WHEN x IS NOT NULL AND bq_try_bool(x) IS NULL THEN error('Bad bool value: ' || CAST(x AS VARCHAR))
        ELSE bq_try_bool(x)
    END
    """,
    # SAFE_CAST(x AS DATE): DuckDB takes other separators than "-" as well.
    r"""
    bq_try_date(x) AS CASE
        WHEN typeof(x) <> 'VARCHAR' OR regexp_full_match(CAST(x AS VARCHAR), '\s*\d{1,4}-\d{1,2}-\d{1,2}([ T].*)?\s*')
        THEN TRY_CAST(x AS DATE)
    END
    """,
    """
    bq_date(x) AS CASE
        WHEN x IS NOT NULL AND bq_try_date(x) IS NULL THEN error('Invalid date: ' || CAST(x AS VARCHAR))
        ELSE bq_try_date(x)
    END
    """,
    # CAST(x AS BYTES)
    "bq_bytes(x) AS CASE typeof(x) WHEN 'VARCHAR' THEN encode(CAST(x AS VARCHAR)) ELSE CAST(x AS BLOB) END",
    # CAST(x AS TIME)
    """
    bq_time(x) AS CASE
        WHEN typeof(x) LIKE 'TIMESTAMP%' THEN CAST(CAST(x AS TIMESTAMP) AS TIME)
        ELSE CAST(x AS TIME)
    END
    """,
    # SUBSTR: what begins before the text begins with it.
    "bq_start(x, start) AS CASE WHEN start = 0 OR start < -length(x) THEN 1 ELSE start END",
    # UNNEST … WITH OFFSET
    "bq_with_offset(x) AS list_transform(x, lambda e, i: {'value': e, 'offset': i - 1})",
    # x[SAFE_OFFSET(i)] and x[SAFE_ORDINAL(i)]
    "bq_safe_element(x, i, low) AS CASE WHEN i >= low THEN list_extract(x, i - low + 1) END",
    # x[OFFSET(i)] and x[ORDINAL(i)]
    """
    bq_element(x, i, low) AS CASE
        WHEN i < low OR i >= len(x) + low THEN error('Array index is out of bounds')
        ELSE list_extract(x, i - low + 1)
    END
    """,
    # ARRAY_SLICE counts from 0.
    "bq_index(i) AS CASE WHEN i >= 0 THEN i + 1 ELSE i END",
    "bq_slice(x, low, high) AS list_slice(x, bq_index(low), bq_index(high))",
    """
    bq_json_type(x) AS CASE json_type(x)
        WHEN 'OBJECT' THEN 'object' WHEN 'ARRAY' THEN 'array' WHEN 'VARCHAR' THEN 'string' WHEN 'BOOLEAN' THEN 'boolean'
        WHEN 'NULL' THEN 'null' WHEN NULL THEN NULL ELSE CASE WHEN x IS NOT NULL THEN 'number' END
    END
    """,
]
