"""The database schema as Alembic migrations. Each can run while the previous release is serving."""
