"""The installation that a command works on: the environment's, else the one that `holdfast up` runs on this machine."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.secret_files import is_set

SIMULATED_STRIPE_KEY = "sk_test_simulated"
"""The key that `holdfast up` and its commands call the Stripe simulator with."""


def running_stack(environment: Mapping[str, str]) -> Mapping[str, Any]:
    """Return stack.json, which is in HOLDFAST_HOME (.holdfast) while `holdfast up` runs, else an empty mapping."""
    home = Path(environment.get("HOLDFAST_HOME") or ".holdfast")
    with suppress(OSError, ValueError):
        stack: Mapping[str, Any] = json.loads((home / "stack.json").read_text())
        return stack
    return {}


def installation(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment; if it names neither database nor API, with the servers of a running `holdfast up`.

    Then all servers come from there, so that no command mixes two installations.
    """
    if is_set(environment, "DATABASE_URL") or environment.get("INVENTORY_AUTHORITY_URL"):
        return dict(environment)
    stack = running_stack(environment)
    if not stack:
        return dict(environment)
    found = {
        "DATABASE_URL": stack["databaseUrl"],
        "INVENTORY_DATABASE_POOLER": "0",
        "TEMPORAL_ADDRESS": stack["temporalAddress"],
        "TEMPORAL_CONFIG_FILE": "/dev/null",
        "TEMPORAL_UI_URL": environment.get("TEMPORAL_UI_URL") or stack["temporalUiUrl"],
        "INVENTORY_AUTHORITY_URL": stack["apiUrl"],
        "INVENTORY_AUTHORITY_TOKEN": stack["authorityToken"],
        "INVENTORY_ADMIN_TOKEN": stack["adminToken"],
        "INVENTORY_MODE": environment.get("INVENTORY_MODE") or "reserve_ttl",
        "STRIPE_WEBHOOK_SECRET": environment.get("STRIPE_WEBHOOK_SECRET") or stack["stripeWebhookSecret"],
    }
    if stack["simulatorUrl"]:
        found |= {"STRIPE_API_KEY": SIMULATED_STRIPE_KEY, "STRIPE_API_BASE": stack["simulatorUrl"]}
    others = {
        name: value
        for name, value in environment.items()
        if not name.startswith("TEMPORAL_") and name.removesuffix("_FILE") not in found
    }
    return others | {name: value for name, value in found.items() if value}


def api_origin(environment: Mapping[str, str]) -> str | None:
    """Return the origin of INVENTORY_AUTHORITY_URL, which may end with `/api/inventory`. None if it is not set."""
    url = (environment.get("INVENTORY_AUTHORITY_URL") or "").strip().rstrip("/")
    return url.removesuffix("/api/inventory").rstrip("/") or None
