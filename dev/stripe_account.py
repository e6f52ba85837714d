"""Stripe in `holdfast up`: the account whose key the environment has, or the simulator in its place."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

_SIMULATED_KEY = "sk_test_simulated"
_LOOPBACK = "127.0.0.1"


def has_account(environment: Mapping[str, str]) -> bool:
    """Whether the environment has the key of a Stripe account."""
    return bool(environment.get("STRIPE_API_KEY"))


@dataclass(frozen=True)
class Payments:
    """Whom API and worker take for Stripe."""

    simulator_url: str | None
    """None where they call Stripe."""
    webhook_secret: str | None
    """What webhooks are signed with: of several, the first."""
    environment: Mapping[str, str]
    """What they need of it, on top of the environment given."""

    @classmethod
    def choose(cls, environment: Mapping[str, str], port: int | None, kept_secret: Callable[[], str]) -> Self:
        """Take the account of the environment, or, where that has none, the simulator at the port.

        The simulator signs with the environment's STRIPE_WEBHOOK_SECRET, or else with the kept one.
        """
        secrets = environment.get("STRIPE_WEBHOOK_SECRET") or ("" if port is None else kept_secret())
        first = secrets.partition(",")[0].strip() or None
        if port is None:
            return cls(None, first, {})
        url = f"http://{_LOOPBACK}:{port}"
        simulated = {"STRIPE_API_KEY": _SIMULATED_KEY, "STRIPE_API_BASE": url, "STRIPE_WEBHOOK_SECRET": secrets}
        # Whoever has a proxy for the world would send the calls of this machine to itself there, too.
        direct = {name: ",".join(filter(None, (environment.get(name), _LOOPBACK))) for name in ("NO_PROXY", "no_proxy")}
        return cls(url, first, simulated | direct)
