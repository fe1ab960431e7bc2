"""BigQuery's functions that depend on the type of their argument, as macros of DuckDB.

SQLGlot translates without knowing types, so a cast of anything to a string looks alike to it, while BigQuery writes a FLOAT64, a
NUMERIC and a TIMESTAMP in other ways than DuckDB. ``typeof`` is known when DuckDB plans a query: of each CASE one branch is left.
Clients cannot call macros; the translation lets no function pass that BigQuery does not have.
"""

from __future__ import annotations

import re

#: What ICU takes for time zones, though the time zone database, and so BigQuery, has no such names.
ABBREVIATIONS = (
    "ACT", "AET", "AGT", "ART", "AST", "BET", "BST", "CAT", "CNT", "CST", "CTT", "EAT", "ECT", "IET", "IST", "JST", "MIT", "NET",
    "NST", "PLT", "PNT", "PRT", "PST", "SST", "VST",
)  # fmt: skip

#: Names, parameters and bodies; one may use those before it.
MACROS = [
    # CAST(x AS STRING). Fractions of a second have no, three or six digits.
    r"""
    bq_string_of_time(x) AS regexp_replace(
        regexp_replace(CAST(x AS VARCHAR), '(\.(?:\d|\d{4}))(\+00)?$', '\100\2'), '(\.(?:\d\d|\d{5}))(\+00)?$', '\10\2'
    )
    """,
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
            WHEN typeof(x) LIKE 'TIME%' THEN bq_string_of_time(x)
            ELSE CAST(x AS VARCHAR)
        END
    END
    """,
    # What FORMAT's %t writes.
    "bq_text(x) AS CASE typeof(x) WHEN 'DOUBLE' THEN CAST(x AS VARCHAR) ELSE bq_string(x) END",
    # DuckDB takes no sign before a hexadecimal number.
    r"""
    bq_of_hex(x) AS TRY_CAST(
        (CASE WHEN regexp_matches(x, '^\s*-') THEN -1 ELSE 1 END)
        * TRY_CAST(CAST(regexp_replace(x, '^\s*[-+]?|\s*$', '', 'g') AS VARCHAR) AS HUGEINT) AS BIGINT
    )
    """,
    # SAFE_CAST(x AS INT64): a text must be a whole number, and a half is rounded away from zero.
    r"""
    bq_try_int64(x) AS CASE typeof(x)
        WHEN 'VARCHAR' THEN
            CASE
                WHEN regexp_full_match(CAST(x AS VARCHAR), '\s*[-+]?\d+\s*') THEN TRY_CAST(x AS BIGINT)
                WHEN regexp_full_match(CAST(x AS VARCHAR), '\s*[-+]?0[xX][0-9a-fA-F]+\s*') THEN bq_of_hex(CAST(x AS VARCHAR))
            END
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
    # SAFE_CAST to dates and times: DuckDB takes other texts as well.
    r"""
    bq_try_date(x) AS CASE
        WHEN typeof(x) <> 'VARCHAR' OR regexp_full_match(CAST(x AS VARCHAR), '\s*\d{4}-\d{1,2}-\d{1,2}\s*')
        THEN CASE WHEN TRY_CAST(x AS DATE) >= DATE '0001-01-01' THEN TRY_CAST(x AS DATE) END
    END
    """,
    r"""
    bq_try_time(x) AS CASE
        WHEN typeof(x) LIKE 'TIMESTAMP%' THEN CAST(TRY_CAST(x AS TIMESTAMP) AS TIME)
        WHEN typeof(x) <> 'VARCHAR' THEN TRY_CAST(x AS TIME)
        WHEN regexp_full_match(CAST(x AS VARCHAR), '\s*([01]?\d|2[0-3]):\d{1,2}:\d{1,2}(\.\d{1,6})?\s*')
        THEN TRY_CAST(regexp_replace(CAST(x AS VARCHAR), ':60(\.\d+)?\s*$', ':59') AS TIME)
            + to_seconds(CASE WHEN regexp_matches(CAST(x AS VARCHAR), ':60(\.\d+)?\s*$') THEN 1 ELSE 0 END)
    END
    """,
    # With leap seconds.
    r"""
    bq_datetime_of_text(x) AS CASE
        WHEN regexp_full_match(x, '\s*\d{4}-\d{1,2}-\d{1,2}([ Tt]([01]?\d|2[0-3]):\d{1,2}:\d{1,2}(\.\d{1,6})?)?\s*')
            AND NOT regexp_matches(x, '^\s*0000')
        THEN TRY_CAST(regexp_replace(upper(x), '(:\d{1,2}):60(\.\d+)?\s*$', '\1:59') AS TIMESTAMP)
            + to_seconds(CASE WHEN regexp_matches(x, ':\d{1,2}:60(\.\d+)?\s*$') THEN 1 ELSE 0 END)
    END
    """,
    """
    bq_try_datetime(x) AS CASE
        WHEN typeof(x) = 'VARCHAR' THEN bq_datetime_of_text(CAST(x AS VARCHAR)) ELSE TRY_CAST(x AS TIMESTAMP)
    END
    """,
    r"""
    bq_full_timestamp(x) AS regexp_replace(
        regexp_replace(x, '^(\s*\d{4}-\d{1,2}-\d{1,2}) ?([+-])', '\1 00:00:00\2'), '(:[\d.]+\s*[+-])(\d)(:\d\d)?(\s*)$', '\10\2\3\4'
    )
    """,
    # Of two moments at which clocks show the same, because they were set back between, BigQuery takes the first, DuckDB the second.
    "bq_ahead(t, z) AS timezone(z, t) - timezone('UTC', t)",
    "bq_as_the_day_before(x, z) AS timezone('UTC', x - bq_ahead(timezone(z, x) - INTERVAL 1 DAY, z))",
    """
    bq_earlier(x, z) AS CASE
        WHEN timezone(z, bq_as_the_day_before(x, z)) = x THEN bq_as_the_day_before(x, z) ELSE timezone(z, x)
    END
    """,
    "bq_from_named_zone(x, z) AS list_transform([x], lambda bq_clocks: bq_earlier(bq_clocks, z))[1]",
    # A leap second is the first one of the next minute.
    r"""
    bq_without_leap_second(x) AS regexp_replace(x, '(\d:\d{1,2}):60', '\1:59')
    """,
    r"""
    bq_leap_second(x) AS to_seconds(CASE WHEN regexp_matches(x, '\d:\d{1,2}:60') THEN 1 ELSE 0 END)
    """,
    r"""
    bq_timestamp_as_it_is(x) AS
        TRY_CAST(bq_full_timestamp(bq_without_leap_second(x)) AS TIMESTAMP WITH TIME ZONE) + bq_leap_second(x)
    """,
    rf"""
    bq_timestamp_of_text(x) AS CASE
        WHEN regexp_full_match(
            x, ' *\d{{4}}-\d{{1,2}}-\d{{1,2}}([ Tt]([01]?\d|2[0-3]):\d{{1,2}}:\d{{1,2}}(\.\d{{1,6}})?)?([Zz]| ?[+-].*| [A-Za-z].*)?\s*'
        )
            AND NOT regexp_matches(x, '^\s*0000|:[\d.]+\s*[+-](1[5-9]|[2-9]\d)|(?i) ({"|".join(ABBREVIATIONS)})\s*$')
        THEN CASE
            WHEN regexp_matches(x, '\s[A-Za-z]\S+\s*$') AND bq_timestamp_as_it_is(x) IS NOT NULL
            THEN bq_from_named_zone(bq_datetime_of_text(regexp_replace(x, '\s*\S+\s*$', '')), regexp_extract(x, '(\S+)\s*$', 1))
            ELSE bq_timestamp_as_it_is(x)
        END
    END
    """,
    """
    bq_try_timestamp(x) AS CASE
        WHEN typeof(x) = 'VARCHAR' THEN bq_timestamp_of_text(CAST(x AS VARCHAR)) ELSE TRY_CAST(x AS TIMESTAMP WITH TIME ZONE)
    END
    """,
    r"""
    bq_try_float64(x) AS CASE
        WHEN typeof(x) <> 'VARCHAR' OR regexp_full_match(
            lower(CAST(x AS VARCHAR)), '\s*([-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?|[-+]?inf(inity)?|[-+]?nan)\s*'
        )
        THEN CASE
            WHEN typeof(x) = 'VARCHAR' AND isinf(TRY_CAST(x AS DOUBLE)) AND NOT contains(lower(CAST(x AS VARCHAR)), 'inf') THEN NULL
            ELSE TRY_CAST(x AS DOUBLE)
        END
    END
    """,
    *(
        f"""
        bq_{name}(x) AS CASE
            WHEN x IS NOT NULL AND bq_try_{name}(x) IS NULL THEN error('{message}: ' || CAST(x AS VARCHAR))
            ELSE bq_try_{name}(x)
        END
        """
        for name, message in (
            ("date", "Invalid date"),
            ("time", "Invalid time string"),
            ("datetime", "Invalid datetime string"),
            ("timestamp", "Invalid timestamp"),
            ("float64", "Bad double value"),
        )
    ),
    # The same of what is not just a column: it is worked out once, however often a macro names it.
    *(
        f"bq_{name}_once(x) AS list_transform([x], lambda t: bq_{name}(t))[1]"
        for kind in ("int64", "bool", "date", "time", "datetime", "timestamp", "float64")
        for name in (kind, f"try_{kind}")
    ),
    # CAST(x AS BYTES)
    "bq_bytes(x) AS CASE typeof(x) WHEN 'VARCHAR' THEN encode(CAST(x AS VARCHAR)) ELSE CAST(x AS BLOB) END",
    # SUBSTR: what begins before the text begins with it.
    "bq_start(x, start) AS CASE WHEN start = 0 OR start < -length(x) THEN 1 ELSE start END",
    # UNNEST … WITH OFFSET
    "bq_with_offset(x) AS list_transform(x, lambda e, i: {'value': e, 'offset': i - 1})",
    # x[SAFE_OFFSET(i)] and x[SAFE_ORDINAL(i)]
    "bq_safe_element(x, i, low) AS CASE WHEN i >= low THEN list_extract(x, i - low + 1) END",
    # x[OFFSET(i)] and x[ORDINAL(i)]
    """
    bq_element(x, i, low) AS CASE
        WHEN x IS NULL THEN NULL
        WHEN i < low OR i >= len(x) + low THEN error('Array index is out of bounds')
        ELSE list_extract(x, i - low + 1)
    END
    """,
    "bq_last(x) AS CASE WHEN len(x) = 0 THEN error('ARRAY_LAST cannot get the last element of an empty array') ELSE x[-1] END",
    "bq_iso_year(x) AS date_trunc('week', make_date(CAST(isoyear(x) AS BIGINT), 1, 4))",
    # ARRAY_SLICE counts from 0.
    "bq_index(i) AS CASE WHEN i >= 0 THEN i + 1 ELSE i END",
    "bq_slice(x, low, high) AS list_slice(x, bq_index(low), bq_index(high))",
    """
    bq_json_type(x) AS CASE json_type(x)
        WHEN 'OBJECT' THEN 'object' WHEN 'ARRAY' THEN 'array' WHEN 'VARCHAR' THEN 'string' WHEN 'BOOLEAN' THEN 'boolean'
        WHEN 'NULL' THEN 'null' WHEN NULL THEN NULL ELSE CASE WHEN x IS NOT NULL THEN 'number' END
    END
    """,
    # Aggregates
    "bq_present(items) AS list_filter(items, lambda e: e IS NOT NULL)",
    "bq_join(items, separator) AS CASE WHEN len(items) > 0 THEN array_to_string(items, separator) END",
    "bq_having(items, bound) AS list_transform(list_filter(items, lambda e: e.y = bound), lambda e: e.x)",
    """
    bq_top_count(counts, size) AS list_slice(
        list_transform(
            list_reverse_sort(list_transform(map_entries(counts), lambda e: {'n': CAST(e.value AS BIGINT), 'v': e.key.v})),
            lambda e: {'value': e.v, 'count': e.n}
        ), 1, size
    )
    """,
    "bq_smallest(x, has_nan) AS CASE WHEN has_nan THEN CAST('nan' AS DOUBLE) ELSE x END",
    "bq_unicode(x) AS CASE WHEN x = '' THEN 0 ELSE unicode(x) END",
    """
    bq_chr(x) AS CASE
        WHEN x BETWEEN 0 AND 55295 OR x BETWEEN 57344 AND 1114111 THEN chr(CAST(x AS INTEGER))
        WHEN x IS NOT NULL THEN error('Invalid codepoint ' || x)
    END
    """,
    "bq_number(x, has_nan) AS CASE WHEN NOT has_nan THEN x END",
    """
    bq_summed(r, all_finite) AS CASE WHEN NOT isfinite(r) AND all_finite THEN error('double overflow') ELSE r END
    """,
    # What is too large to be squared is worked out in smaller numbers.
    "bq_shrunk(x) AS x * 2.409919865102884e-181",
    "bq_grown(x) AS x * 4.149515568880993e180",
    "bq_grown_twice(x) AS bq_grown(bq_grown(x))",
    """
    bq_statistic(r, grown, has_special, n, least) AS CASE
        WHEN n < least THEN NULL WHEN has_special THEN CAST('nan' AS DOUBLE) WHEN isfinite(r) THEN r ELSE grown
    END
    """,
    """
    bq_correlation(r, has_special, n, least) AS CASE
        WHEN n < least THEN NULL WHEN has_special THEN CAST('nan' AS DOUBLE) ELSE r
    END
    """,
    "bq_pair(x, y) AS x || ' ' || y",
    "bq_exact(r, is_large, exact) AS CASE WHEN is_large THEN exact ELSE r END",
    "bq_sorted(items) AS list_sort(items, 'ASC', 'NULLS FIRST')",
    "bq_at(items, place) AS items[greatest(1, CAST(place AS BIGINT))]",
    """
    bq_quantiles(items, size) AS list_transform(
        generate_series(0, size), lambda k: bq_at(bq_sorted(items), (k * len(items) + size - 1) // size)
    )
    """,
    "bq_percentile_disc(items, p) AS bq_at(bq_sorted(items), ceil(p * len(items)))",
    "bq_between(low, high, part) AS CASE WHEN low IS NULL THEN high WHEN part = 0 THEN low ELSE low + (high - low) * part END",
    """
    bq_percentile_cont(items, p) AS bq_between(
        CAST(bq_at(bq_sorted(items), floor(p * (len(items) - 1)) + 1) AS DOUBLE),
        CAST(bq_at(bq_sorted(items), ceil(p * (len(items) - 1)) + 1) AS DOUBLE),
        p * (len(items) - 1) - floor(p * (len(items) - 1))
    )
    """,
    """
    bq_without_nan(items) AS CASE
        WHEN len(list_filter(items, lambda e: isnan(e))) > 0
        THEN error('The emulator does no percentiles of NaN with RESPECT NULLS')
        ELSE items
    END
    """,
    # LIKE ANY UNNEST(…) and LIKE ALL UNNEST(…)
    "bq_any(found) AS coalesce(list_bool_or(found), false) OR (CASE WHEN len(found) > list_count(found) THEN NULL ELSE false END)",
    "bq_all(found) AS coalesce(list_bool_and(found), true) AND (CASE WHEN len(found) > list_count(found) THEN NULL ELSE true END)",
    """
    bq_percentile(r, is_special) AS CASE
        WHEN is_special THEN error('The emulator does no PERCENTILE_CONT of NaN, of infinity, and of large NUMERICs') ELSE r
    END
    """,
    # The key of a window with a RANGE of distances: NaN is before -infinity, and infinities are as far as numbers go.
    """
    bq_range_key(x) AS CASE
        WHEN isnan(x) THEN CAST('-inf' AS DOUBLE)
        WHEN isinf(x) THEN CASE WHEN x > 0 THEN 1.7976931348623157e308 ELSE -1.7976931348623157e308 END
        ELSE x
    END
    """,
    # How far such a window reaches from it: to infinities only by an infinite distance. DuckDB refuses one below 0.
    "bq_range_end(distance) AS CASE WHEN isinf(distance) THEN 1.7976931348623157e308 ELSE 1.7976931348623155e308 END",
    """
    bq_range_down(x, distance) AS CASE
        WHEN isnan(distance) OR distance < 0 THEN -1
        WHEN isfinite(x) THEN greatest(0, least(distance, x + bq_range_end(distance)))
        ELSE 0
    END
    """,
    """
    bq_range_up(x, distance) AS CASE
        WHEN isnan(distance) OR distance < 0 THEN -1
        WHEN isfinite(x) THEN greatest(0, least(distance, bq_range_end(distance) - x))
        ELSE 0
    END
    """,
    # A NUMERIC as the number of its last digits.
    "bq_scaled(x) AS CAST(replace(CAST(CAST(x AS DECIMAL(38, 9)) AS VARCHAR), '.', '') AS HUGEINT)",
    # A text of a CSV file without allowQuotedNewlines
    """
    bq_one_line(x) AS CASE
        WHEN contains(x, chr(10)) OR contains(x, chr(13))
        THEN error('Missing close quote character ("): allowQuotedNewlines is not set')
        ELSE x
    END
    """,
    # Columns of STRING(n), BYTES(n), NUMERIC(p, s)
    """
    bq_limited(x, size, name) AS CASE
        WHEN (CASE typeof(x) WHEN 'BLOB' THEN octet_length(CAST(x AS BLOB)) ELSE length(CAST(x AS VARCHAR)) END) > size
        THEN error('Field ' || name || ': Value is longer than the maximum length ' || size)
        ELSE x
    END
    """,
    """
    bq_fixed(x, digits, scale, name) AS CASE
        WHEN abs(round(x, scale)) >= pow(10, digits - scale)
        THEN error('Field ' || name || ': Value is out of range of a NUMERIC(' || digits || ', ' || scale || ')')
        ELSE round(x, scale)
    END
    """,
    # REGEXP_EXTRACT_ALL finds nothing empty behind the last character; its group may be empty.
    "bq_without_end(found, matches, x) AS CASE WHEN matches[-1] = '' AND x <> '' THEN found[:-2] ELSE found END",
    """
    bq_too_many_groups(pattern) AS CASE
        WHEN pattern IS NOT NULL THEN error('Regular expression has more than 1 capturing group')
    END
    """,
    "bq_step(step) AS CASE WHEN step = 0 THEN error('Sequence step cannot be 0.') ELSE step END",
    # The same, in a way that DuckDB does not take for a key that it groups by.
    "bq_same(x) AS x",
    # JSON
    "bq_valid_json(x) AS CASE WHEN json_valid(x) THEN x END",
    "bq_json_items(x) AS CASE WHEN json_type(x) = 'ARRAY' THEN CAST(x AS JSON[]) END",
    """
    bq_json_values(x) AS CASE
        WHEN json_type(x) = 'ARRAY' AND len(list_filter(CAST(x AS JSON[]), lambda e: json_type(e) IN ('ARRAY', 'OBJECT'))) = 0
        THEN list_transform(CAST(x AS JSON[]), lambda e: e ->> '$')
    END
    """,
    """
    bq_json_of_int64(x) AS CASE
        WHEN abs(CAST(x AS HUGEINT)) > 9007199254740992 THEN concat('"', x, '"') ELSE CAST(x AS VARCHAR)
    END
    """,
    r"""
    bq_json_of_float64(x) AS CASE
        WHEN isnan(x) OR isinf(x) THEN concat('"', CASE WHEN isnan(x) THEN 'NaN' WHEN x > 0 THEN 'Infinity' ELSE '-Infinity' END, '"')
        ELSE regexp_replace(CAST(CAST(x AS DOUBLE) AS VARCHAR), '\.0$', '')
    END
    """,
    "bq_json_of_bytes(x) AS '\"' || to_base64(x) || '\"'",
    "bq_json_of_datetime(x) AS '\"' || replace(bq_string(x), ' ', 'T') || '\"'",
    "bq_json_of_timestamp(x) AS '\"' || replace(bq_string(timezone('UTC', x)), ' ', 'T') || 'Z\"'",
    "bq_json_of_time(x) AS '\"' || bq_string_of_time(x) || '\"'",
    "bq_json_of_numeric(x) AS bq_string(x)",
    """
    bq_json_string(x) AS CASE
        WHEN json_type(x) = 'VARCHAR' THEN x ->> '$'
        WHEN x IS NOT NULL THEN error('The provided JSON input is not a string')
    END
    """,
    """
    bq_json_bool(x) AS CASE
        WHEN json_type(x) = 'BOOLEAN' THEN CAST(x AS BOOLEAN)
        WHEN x IS NOT NULL THEN error('The provided JSON input is not a boolean')
    END
    """,
    """
    bq_json_int64(x) AS CASE
        WHEN json_type(x) IN ('BIGINT', 'UBIGINT') THEN CAST(x ->> '$' AS BIGINT)
        WHEN json_type(x) = 'DOUBLE' AND CAST(x ->> '$' AS DOUBLE) = trunc(CAST(x ->> '$' AS DOUBLE))
        THEN CAST(CAST(x ->> '$' AS DOUBLE) AS BIGINT)
        WHEN x IS NOT NULL THEN error('The provided JSON input is not an integer')
    END
    """,
    """
    bq_json_float64(x) AS CASE
        WHEN json_type(x) IN ('BIGINT', 'UBIGINT', 'DOUBLE') THEN CAST(x ->> '$' AS DOUBLE)
        WHEN x ->> '$' IN ('NaN', 'Infinity', '-Infinity') THEN CAST(x ->> '$' AS DOUBLE)
        WHEN x IS NOT NULL THEN error('The provided JSON input is not a number')
    END
    """,
    """
    bq_json_number(x) AS CASE
        WHEN json_type(x) IN ('BIGINT', 'UBIGINT', 'DOUBLE') OR x ->> '$' IN ('NaN', 'Infinity', '-Infinity') THEN x ->> '$'
        WHEN x IS NOT NULL THEN error('The provided JSON input is not a number')
    END
    """,
    """
    bq_lax_string(x) AS CASE WHEN json_type(x) NOT IN ('OBJECT', 'ARRAY', 'NULL') THEN x ->> '$' END
    """,
    """
    bq_lax_bool(x) AS CASE json_type(x)
        WHEN 'BOOLEAN' THEN CAST(x AS BOOLEAN)
        WHEN 'VARCHAR' THEN bq_try_bool(x ->> '$')
        WHEN 'BIGINT' THEN TRY_CAST(x ->> '$' AS DOUBLE) <> 0
        WHEN 'UBIGINT' THEN TRY_CAST(x ->> '$' AS DOUBLE) <> 0
        WHEN 'DOUBLE' THEN TRY_CAST(x ->> '$' AS DOUBLE) <> 0
    END
    """,
    """
    bq_lax_float64(x) AS CASE
        WHEN json_type(x) IN ('BIGINT', 'UBIGINT', 'DOUBLE', 'VARCHAR') THEN TRY_CAST(x ->> '$' AS DOUBLE)
    END
    """,
    r"""
    bq_lax_int64(x) AS CASE
        WHEN json_type(x) = 'BOOLEAN' THEN CAST(CAST(x AS BOOLEAN) AS BIGINT)
        WHEN json_type(x) IN ('BIGINT', 'UBIGINT') THEN TRY_CAST(x ->> '$' AS BIGINT)
        WHEN json_type(x) IN ('DOUBLE', 'VARCHAR') THEN
            coalesce(
                TRY_CAST(CASE WHEN regexp_full_match(x ->> '$', '[-+]?\d+') THEN x ->> '$' END AS BIGINT),
                bq_try_int64(TRY_CAST(x ->> '$' AS DOUBLE))
            )
    END
    """,
    # Numbers
    "bq_sqrt(x) AS CASE WHEN x < 0 THEN error('Argument to SQRT cannot be negative') ELSE sqrt(x) END",
    # What the C library finds may be off by its last bit: of 27.
    """
    bq_cbrt(x) AS CASE
        WHEN pow(round(cbrt(CAST(x AS DOUBLE))), 3) = x THEN round(cbrt(CAST(x AS DOUBLE))) ELSE cbrt(CAST(x AS DOUBLE))
    END
    """,
    "bq_ln(x) AS CASE WHEN x <= 0 THEN error('Floating point error in function: LN(' || x || ')') ELSE ln(x) END",
    """
    bq_log(x, base) AS CASE
        WHEN isinf(x) AND x < 0 OR isinf(base) THEN CAST('nan' AS DOUBLE)
        WHEN x <= 0 OR base <= 0 OR base = 1 THEN error('Floating point error in function: LOG(' || x || ', ' || base || ')')
        WHEN base = 10 THEN log10(x)
        ELSE ln(x) / ln(base)
    END
    """,
    "bq_acos(x) AS CASE WHEN abs(x) > 1 THEN error('Floating point error in function: ACOS(' || x || ')') ELSE acos(x) END",
    "bq_asin(x) AS CASE WHEN abs(x) > 1 THEN error('Floating point error in function: ASIN(' || x || ')') ELSE asin(x) END",
    "bq_acosh(x) AS CASE WHEN x < 1 THEN error('Floating point error in function: ACOSH(' || x || ')') ELSE acosh(x) END",
    "bq_atanh(x) AS CASE WHEN abs(x) >= 1 THEN error('Floating point error in function: ATANH(' || x || ')') ELSE atanh(x) END",
    """
    bq_exp(x) AS CASE
        WHEN isinf(exp(x)) AND isfinite(CAST(x AS DOUBLE)) THEN error('Floating point error in function: EXP(' || x || ')') ELSE exp(x)
    END
    """,
    """
    bq_pow(x, y) AS CASE
        WHEN isfinite(CAST(x AS DOUBLE)) AND isfinite(CAST(y AS DOUBLE)) AND NOT isfinite(pow(CAST(x AS DOUBLE), CAST(y AS DOUBLE)))
        THEN error('Floating point error in function: POW(' || x || ', ' || y || ')')
        ELSE pow(x, y)
    END
    """,
    "bq_ieee_divide(x, y) AS CAST(x AS DOUBLE) / CAST(y AS DOUBLE)",
    "bq_csc(x) AS CASE WHEN x = 0 THEN error('Floating point error in function: CSC') ELSE 1 / sin(x) END",
    "bq_csch(x) AS CASE WHEN x = 0 THEN error('Floating point error in function: CSCH') ELSE 1 / sinh(x) END",
    "bq_coth(x) AS CASE WHEN x = 0 THEN error('Floating point error in function: COTH') ELSE 1 / tanh(x) END",
    "bq_cot(x) AS CASE WHEN x = 0 THEN error('Floating point error in function: COT') ELSE 1 / tan(x) END",
    "bq_sech(x) AS CASE WHEN abs(x) > 710 THEN 0 ELSE 1 / cosh(x) END",
    "bq_finite(r, all_finite) AS CASE WHEN NOT isfinite(r) AND all_finite THEN error('Floating point error: overflow') ELSE r END",
    # Text
    """
    bq_ascii(x) AS CASE
        WHEN ascii(x) > 127 THEN error('Argument to ASCII is not a structurally valid ASCII string: ' || x)
        ELSE CAST(ascii(x) AS BIGINT)
    END
    """,
    """
    bq_left(x, n) AS CASE
        WHEN x IS NULL THEN NULL WHEN n < 0 THEN error('Second argument of LEFT cannot be negative') ELSE left(x, n)
    END
    """,
    """
    bq_right(x, n) AS CASE
        WHEN x IS NULL THEN NULL WHEN n < 0 THEN error('Second argument of RIGHT cannot be negative') ELSE right(x, n)
    END
    """,
    "bq_length(n, name) AS CASE WHEN n < 0 THEN error('Third argument of ' || name || ' cannot be negative') ELSE n END",
    """
    bq_padded(n, pattern) AS CASE
        WHEN n < 0 THEN error('Second argument (output size) for LPAD/RPAD cannot be negative')
        WHEN n > 1048576 THEN error('Output of LPAD/RPAD exceeds max allowed output size of 1MB')
        WHEN pattern = '' THEN error('Third argument (pad pattern) for LPAD/RPAD cannot be empty')
        ELSE CAST(n AS INTEGER)
    END
    """,
    """
    bq_repeat(x, n) AS CASE
        WHEN n < 0 THEN error('Second argument in REPEAT cannot be negative')
        WHEN CAST(n AS HUGEINT) * strlen(x) > 1048576 THEN error('Output of REPEAT exceeds max allowed output size of 1MB')
        ELSE repeat(x, n)
    END
    """,
    # Dates
    """
    bq_date_in_range(x) AS CASE
        WHEN x < DATE '0001-01-01' OR x > DATE '9999-12-31' THEN error('Adding to or subtracting from a date causes overflow') ELSE x
    END
    """,
    """
    bq_datetime_in_range(x) AS CASE
        WHEN x < TIMESTAMP '0001-01-01' OR x >= TIMESTAMP '9999-12-31 00:00:00' + INTERVAL 1 DAY
        THEN error('Adding to or subtracting from a datetime causes overflow') ELSE x
    END
    """,
    """
    bq_timestamp_in_range(x) AS CASE
        WHEN x < TIMESTAMPTZ '0001-01-01 00:00:00+00' OR x >= TIMESTAMPTZ '9999-12-31 00:00:00+00' + INTERVAL 1 DAY
        THEN error('Adding to or subtracting from a timestamp causes overflow') ELSE x
    END
    """,
    """
    bq_without_months(i) AS CASE
        WHEN date_part('year', i) <> 0 OR date_part('month', i) <> 0
        THEN error('TIMESTAMP +/- INTERVAL is not supported for intervals with non-zero MONTH or YEAR part.') ELSE i
    END
    """,
    # How far a time zone's clocks are from UTC, in minutes: +05:45, +0545, UTC+5:45.
    """
    bq_offset(minutes) AS
        CASE WHEN minutes < 0 THEN '-' ELSE '+' END || lpad(CAST(abs(minutes) // 60 AS VARCHAR), 2, '0')
        || ':' || lpad(CAST(abs(minutes) % 60 AS VARCHAR), 2, '0')
    """,
    "bq_week(d, first) AS (dayofyear(d) + 6 - (isodow(d) - first + 7) % 7) // 7",
    "bq_zone_suffix(minutes) AS regexp_replace(bq_offset(minutes), ':00$', '')",
    r"""
    bq_zone_part(z, place) AS CAST(coalesce(nullif(regexp_extract(z, '[-+](\d{1,2}):?(\d{1,2})?$', place), ''), '0') AS BIGINT)
    """,
    # A time zone that is written as an offset, which DuckDB does not know, in minutes; NULL for one that has a name.
    rf"""
    bq_zone_minutes(z) AS CASE
        WHEN upper(z) IN {ABBREVIATIONS} THEN error('Invalid time zone: ' || z)
        WHEN z IS NULL OR NOT regexp_full_match(z, '(UTC)?[-+]\d{{1,2}}(:?\d{{1,2}})?') THEN NULL
        WHEN bq_zone_part(z, 2) > 59 OR bq_zone_part(z, 1) * 60 + bq_zone_part(z, 2) > 840
        THEN error('Invalid time zone: ' || z)
        ELSE (CASE WHEN contains(z, '-') THEN -1 ELSE 1 END) * (bq_zone_part(z, 1) * 60 + bq_zone_part(z, 2))
    END
    """,
    r"""
    bq_in_zone(x, z) AS CASE
        WHEN bq_zone_minutes(z) IS NULL THEN timezone(CAST(z AS VARCHAR), x) ELSE timezone('UTC', x) + to_minutes(bq_zone_minutes(z))
    END
    """,
    r"""
    bq_from_zone(x, z) AS CASE
        WHEN bq_zone_minutes(z) IS NULL THEN bq_from_named_zone(x, CAST(z AS VARCHAR))
        ELSE timezone('UTC', x - to_minutes(bq_zone_minutes(z)))
    END
    """,
    # What py_strptime returns: microseconds and a time zone.
    "bq_clocks(t) AS make_timestamp(CAST(regexp_extract(t, '^\\S+') AS BIGINT))",
    "bq_parsed_moment(t) AS bq_from_zone(bq_clocks(t), t[instr(t, ' ') + 1:])",
    """
    bq_parsed_in_range(x) AS CASE
        WHEN x < TIMESTAMPTZ '0001-01-01 00:00:00+00' OR x >= TIMESTAMPTZ '9999-12-31 00:00:00+00' + INTERVAL 1 DAY
        THEN error('Invalid result from parsing function') ELSE x
    END
    """,
    """
    bq_parsed_timestamp(p) AS list_transform(
        list_transform([p], lambda bq_parsed: bq_parsed_moment(bq_parsed)), lambda bq_moment: bq_parsed_in_range(bq_moment)
    )[1]
    """,
    "bq_time_trunc(unit, x) AS CAST(date_trunc(unit, DATE '1970-01-01' + x) AS TIME)",
    """
    bq_series(low, high, step) AS CASE
        WHEN step = 0 THEN error('Sequence step cannot be 0.') ELSE generate_series(low, high, step)
    END
    """,
    # Seconds or milliseconds since 1970, rounded down.
    "bq_epoch(x, size) AS (epoch_us(x) - ((epoch_us(x) % size) + size) % size) // size",
    """
    bq_timestamp_of(micros) AS CASE
        WHEN micros < -62135596800000000 OR micros > 253402300799999999
        THEN error('Invalid timestamp value: ' || micros || ' microseconds')
        ELSE make_timestamptz(CAST(micros AS BIGINT))
    END
    """,
    """
    bq_shift_left(x, n) AS CASE
        WHEN n < 0 THEN error('Bitwise shift by negative offset') WHEN n >= 64 THEN CAST(0 AS BIGINT) ELSE CAST(x AS BIGINT) << n
    END
    """,
    """
    bq_shift_right(x, n) AS CASE
        WHEN n < 0 THEN error('Bitwise shift by negative offset') WHEN n >= 64 THEN CAST(0 AS BIGINT) ELSE CAST(x AS BIGINT) >> n
    END
    """,
    """
    bq_range_bucket(x, bounds) AS CASE
        WHEN x IS NOT NULL AND bounds IS NOT NULL THEN len(list_filter(bounds, lambda e: e <= x))
    END
    """,
    """
    bq_sinh(x) AS CASE
        WHEN isinf(sinh(x)) AND isfinite(CAST(x AS DOUBLE)) THEN error('Floating point error in function: SINH') ELSE sinh(x)
    END
    """,
    """
    bq_cosh(x) AS CASE
        WHEN isinf(cosh(x)) AND isfinite(CAST(x AS DOUBLE)) THEN error('Floating point error in function: COSH') ELSE cosh(x)
    END
    """,
    r"""
    bq_try_numeric_text(x) AS CASE WHEN regexp_full_match(x, '\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*') THEN x END
    """,
    """
    bq_numeric_text(x) AS CASE
        WHEN x IS NOT NULL AND bq_try_numeric_text(x) IS NULL THEN error('Invalid NUMERIC value: ' || x) ELSE x
    END
    """,
    """
    bq_real_series(low, high, step) AS CASE
        WHEN step = 0 THEN error('Sequence step cannot be 0.')
        WHEN (high - low) / step < 0 THEN []
        ELSE list_transform(generate_series(0, CAST(floor((high - low) / step) AS BIGINT)), lambda i: low + i * step)
    END
    """,
    """
    bq_safe_divide(x, y) AS CASE
        WHEN y = 0 OR (isinf(CAST(x AS DOUBLE) / y) AND isfinite(CAST(x AS DOUBLE)) AND isfinite(CAST(y AS DOUBLE))) THEN NULL
        ELSE x / y
    END
    """,
    # INTERVAL, as text: [sign]Y-M [sign]D [sign]H:M:S[.F]
    "bq_interval_months(x) AS datepart('year', x) * 12 + datepart('month', x)",
    "bq_interval_micros(x) AS datepart('hour', x) * 3600000000 + datepart('minute', x) * 60000000 + datepart('microsecond', x)",
    "bq_sign(n) AS CASE WHEN n < 0 THEN '-' ELSE '' END",
    """
    bq_fraction(micros) AS CASE
        WHEN micros % 1000000 = 0 THEN ''
        WHEN micros % 1000 = 0 THEN '.' || lpad(CAST(micros % 1000000 // 1000 AS VARCHAR), 3, '0')
        ELSE '.' || lpad(CAST(micros % 1000000 AS VARCHAR), 6, '0')
    END
    """,
    "bq_clock(n) AS (n // 3600000000) || ':' || (n // 60000000 % 60) || ':' || (n // 1000000 % 60) || bq_fraction(n)",
    """
    bq_string_of_interval(x) AS bq_sign(bq_interval_months(x)) || (abs(bq_interval_months(x)) // 12) || '-'
        || (abs(bq_interval_months(x)) % 12) || ' ' || datepart('day', x) || ' '
        || bq_sign(bq_interval_micros(x)) || bq_clock(abs(bq_interval_micros(x)))
    """,
    """
    bq_interval_of(months, days, micros) AS CASE
        WHEN abs(months) > 120000 OR abs(days) > 3660000 OR abs(micros) > 316224000000000000 THEN error('Interval overflow')
        ELSE to_months(CAST(months AS INTEGER)) + to_days(CAST(days AS INTEGER)) + to_microseconds(CAST(micros AS BIGINT))
    END
    """,
    """
    bq_made_interval(years, months, days, hours, minutes, seconds) AS
        bq_interval_of(years * 12 + months, days, (hours * 3600 + minutes * 60 + seconds) * 1000000)
    """,
    "bq_days(n) AS to_days(CAST(n AS INTEGER))",
    "bq_parsed(x, pattern) AS coalesce(TRY_CAST(nullif(regexp_extract(x, pattern, 1), '') AS DECIMAL(38, 6)), 0)",
    r"""
    bq_interval_text(x) AS CASE
        WHEN regexp_full_match(x, '\s*[-+]?\d+-\d+\s*') THEN x || ' 0 0:0:0'
        WHEN regexp_full_match(x, '\s*[-+]?\d+-\d+\s+[-+]?\d+\s*') THEN x || ' 0:0:0'
        WHEN regexp_full_match(x, '\s*[-+]?\d+\s+[-+]?\d+:\d+:\d+(\.\d{1,6})?\s*') THEN '0-0 ' || trim(x)
        WHEN regexp_full_match(x, '\s*[-+]?\d+:\d+:\d+(\.\d{1,6})?\s*') THEN '0-0 0 ' || trim(x)
        ELSE x
    END
    """,
    r"""
    bq_whole_interval(x) AS CASE
        WHEN regexp_full_match(x, '\s*[-+]?\d+-\d+\s+[-+]?\d+\s+[-+]?\d+:\d+:\d+(\.\d{1,6})?\s*')
        THEN bq_interval_of(
            (CASE WHEN regexp_matches(x, '^\s*-') THEN -1 ELSE 1 END)
            * (bq_parsed(x, '^\s*[-+]?(\d+)-') * 12 + bq_parsed(x, '^\s*[-+]?\d+-(\d+)')),
            bq_parsed(x, '-\d+\s+([-+]?\d+)\s'),
            (CASE WHEN regexp_matches(x, '\s-\d+:') THEN -1 ELSE 1 END)
            * (bq_parsed(x, '(\d+):\d+:') * 3600000000 + bq_parsed(x, ':(\d+):') * 60000000
                + bq_parsed(x, ':\d+:(\d+(?:\.\d+)?)') * 1000000)
        )
        WHEN regexp_full_match(
            x, 'P(-?\d+Y)?(-?\d+M)?(-?\d+W)?(-?\d+D)?(T(-?\d+H)?(-?\d+M)?(-?\d+(\.\d{1,6})?S)?)?'
        ) AND regexp_matches(x, '\d')
        THEN bq_interval_of(
            bq_parsed(x, '(-?\d+)Y') * 12 + bq_parsed(x, '^P[^T]*?(-?\d+)M'),
            bq_parsed(x, '(-?\d+)W') * 7 + bq_parsed(x, '(-?\d+)D'),
            bq_parsed(x, '(-?\d+)H') * 3600000000 + bq_parsed(x, 'T.*?(-?\d+)M') * 60000000
            + bq_parsed(x, '(-?\d+(?:\.\d+)?)S') * 1000000
        )
        WHEN x IS NOT NULL THEN error('Invalid INTERVAL value: ' || x)
    END
    """,
    "bq_interval(x) AS bq_whole_interval(bq_interval_text(x))",
    # GEOGRAPHY
    r"bq_coordinate(x) AS CASE WHEN x = 0 THEN '0' ELSE regexp_replace(CAST(CAST(x AS DOUBLE) AS VARCHAR), '\.0$', '') END",
    """
    bq_geogpoint(x, y) AS CASE
        WHEN x IS NULL OR y IS NULL THEN NULL
        WHEN NOT isfinite(CAST(x AS DOUBLE)) OR NOT isfinite(CAST(y AS DOUBLE)) OR abs(y) > 90
        THEN error('ST_GeogPoint failed: Latitude must be between -90 and 90 degrees. Actual value was ' || bq_string(y))
        ELSE {'geography text': 'POINT(' || bq_coordinate(x - 360 * (CASE WHEN abs(x) > 180 THEN round(x / 360) ELSE 0 END))
            || ' ' || bq_coordinate(y) || ')'}
    END
    """,
    *(
        rf"""
        bq_st_{name}(g) AS CASE
            WHEN g['geography text'] LIKE 'POINT(%'
            THEN CAST(regexp_extract(g['geography text'], '\((\S+) (\S+)\)', {place}) AS DOUBLE)
            WHEN g['geography text'] NOT LIKE '% EMPTY' THEN error('ST_{name.upper()} failed: the GEOGRAPHY is not a single point')
        END
        """
        for place, name in enumerate("xy", start=1)
    ),
    # RANGE
    """
    bq_range(low, high) AS CASE
        WHEN low >= high
        THEN error('Range start element must be smaller than range end element: [' || bq_string(low) || ', ' || bq_string(high) || ')')
        WHEN low IS NOT NULL AND high IS NOT NULL THEN {'range start': low, 'range end': high}
    END
    """,
    r"bq_range_half(x, place) AS regexp_extract(x, '^\s*\[\s*([^,]*?)\s*,\s*([^,]*?)\s*\)\s*$', place)",
    "bq_is_unbounded(x) AS upper(x) IN ('UNBOUNDED', 'NULL')",
    *(
        rf"""
        bq_range_of_{name}(x) AS CASE
            WHEN regexp_full_match(x, '\s*\[[^,]+,[^,]+\)\s*')
            THEN bq_range(
                CASE WHEN bq_is_unbounded(bq_range_half(x, 1)) THEN CAST('-infinity' AS {kind})
                    ELSE bq_{name}_once(bq_range_half(x, 1)) END,
                CASE WHEN bq_is_unbounded(bq_range_half(x, 2)) THEN CAST('infinity' AS {kind})
                    ELSE bq_{name}_once(bq_range_half(x, 2)) END
            )
            WHEN x IS NOT NULL THEN error('Invalid RANGE value: ' || x)
        END
        """
        for name, kind in (("date", "DATE"), ("datetime", "TIMESTAMP"), ("timestamp", "TIMESTAMP WITH TIME ZONE"))
    ),
    """
    bq_range_text(x) AS CASE
        WHEN x LIKE '{%'
        THEN '[' || coalesce(json_extract_string(x, '$.start'), 'UNBOUNDED') || ', '
            || coalesce(json_extract_string(x, '$.end'), 'UNBOUNDED') || ')'
        ELSE x
    END
    """,
    "bq_bound_text(x) AS CASE WHEN isinf(x) THEN 'UNBOUNDED' ELSE bq_string(x) END",
    "bq_string_of_range(r) AS '[' || bq_bound_text(r['range start']) || ', ' || bq_bound_text(r['range end']) || ')'",
    "bq_range_contains(r, x) AS x >= r['range start'] AND x < r['range end']",
    "bq_range_contains_range(r, s) AS s['range start'] >= r['range start'] AND s['range end'] <= r['range end']",
    "bq_range_overlaps(r, s) AS r['range start'] < s['range end'] AND s['range start'] < r['range end']",
    """
    bq_intersection(r, s) AS CASE
        WHEN bq_range_overlaps(r, s)
        THEN bq_range(greatest(r['range start'], s['range start']), least(r['range end'], s['range end']))
        WHEN r IS NOT NULL AND s IS NOT NULL
        THEN error('Provided RANGE inputs ' || bq_string_of_range(r) || ' and ' || bq_string_of_range(s) || ' do not overlap')
    END
    """,
    # What the ranges are is worked out once.
    """
    bq_range_intersect(r, s) AS
        list_transform([{'r': r, 's': s}], lambda bq_both: bq_intersection(bq_both.r, bq_both.s))[1]
    """,
    # TIMESTAMP(12)
    r"""
    bq_picoseconds(x) AS CASE
        WHEN regexp_matches(x, '\.\d{13}') THEN error('Invalid timestamp: ' || x)
        WHEN bq_timestamp(regexp_replace(x, '(\.\d{6})\d+', '\1')) IS NOT NULL
        THEN {
            'timestamp': bq_timestamp(regexp_replace(x, '(\.\d{6})\d+', '\1')),
            'picoseconds of it': coalesce(TRY_CAST(rpad(nullif(regexp_extract(x, '\.\d{6}(\d+)', 1), ''), 6, '0') AS BIGINT), 0)
        }
    END
    """,
    """
    bq_without_picoseconds(x) AS CASE WHEN x IS NOT NULL THEN {'timestamp': x, 'picoseconds of it': CAST(0 AS BIGINT)} END
    """,
]

#: The names of the macros that may end in an error.
FAILING: set[str] = set()
for _macro in MACROS:
    if "error(" in _macro or any(f"{name}(" in _macro for name in FAILING):
        FAILING.add(_macro.strip().partition("(")[0])


def _safe(macro: str) -> str:
    """Return a macro with NULL in the place of its errors: what SAFE makes of it. DuckDB's TRY does not take error()."""
    name = macro.strip().partition("(")[0]
    for failing in FAILING:
        macro = re.sub(rf"\b{failing}\(", f"safe_{failing}(", macro)
    return macro.replace("error(", "bq_null(") if name in FAILING else macro


MACROS = [*MACROS, "bq_null(x) AS NULL", *(_safe(macro) for macro in MACROS if macro.strip().partition("(")[0] in FAILING)]
