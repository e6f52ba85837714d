"""Infrastructure of every process: settings, secrets, Postgres, Temporal, logging, metrics and tracing."""
