"""Long-running operations: what runs them, and import, export and de-identification."""
