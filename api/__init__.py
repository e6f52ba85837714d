"""HTTP: routes, request and answer bodies, tokens, and one table from errors to answers."""
