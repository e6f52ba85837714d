"""The schema of the database, as Alembic migrations that run while the release before them works."""
