"""Values that every layer shares. Pure: no I/O, no library but pydantic."""
