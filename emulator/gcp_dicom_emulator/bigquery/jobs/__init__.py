"""BigQuery's jobs: queries, loads, copies and extracts, and what runs them."""
