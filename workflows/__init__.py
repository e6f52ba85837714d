"""Deterministic code that Temporal runs and replays: the hold's life, its messages, and the ports to the outside."""
