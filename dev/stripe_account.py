"""The Stripe account that `holdfast up` uses: that of the environment's key, or the simulator."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

from cli.installation import SIMULATED_STRIPE_KEY

_LOOPBACK = "127.0.0.1"


def has_account(environment: Mapping[str, str]) -> bool:
    """Whether the environment has the key of a Stripe account."""
    return bool(environment.get("STRIPE_API_KEY"))


@dataclass(frozen=True)
class StripeAccount:
    """Where API and worker find Stripe."""

    simulator_url: str | None
    """None if they call Stripe itself."""
    webhook_secret: str | None
    """The secret that signs webhooks; of several, the first."""
    environment: Mapping[str, str]
    """Environment variables for API and worker."""

    @classmethod
    def choose(cls, environment: Mapping[str, str], port: int | None, kept_secret: Callable[[], str]) -> Self:
        """Choose the simulator at the port, or the account of the environment if the port is None.

        The simulator signs with the environment's STRIPE_WEBHOOK_SECRET, else with `kept_secret`.
        """
        secrets = environment.get("STRIPE_WEBHOOK_SECRET") or ("" if port is None else kept_secret())
        first = secrets.partition(",")[0].strip() or None
        if port is None:
            return cls(None, first, {})
        url = f"http://{_LOOPBACK}:{port}"
        simulated = {"STRIPE_API_KEY": SIMULATED_STRIPE_KEY, "STRIPE_API_BASE": url, "STRIPE_WEBHOOK_SECRET": secrets}
        # Without this, calls to the simulator go through the HTTP proxy of the environment.
        direct = {name: ",".join(filter(None, (environment.get(name), _LOOPBACK))) for name in ("NO_PROXY", "no_proxy")}
        return cls(url, first, simulated | direct)
