"""From GoogleSQL to DuckDB's SQL, and back for results and errors."""
