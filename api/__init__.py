"""FastAPI: routes, schemas, auth, one error mapping, and the only caller of the Temporal client."""
