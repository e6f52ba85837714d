"""Settings, Postgres, Temporal, logs, metrics and traces: what every process needs."""
