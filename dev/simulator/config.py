"""The configuration of a simulator. Nothing is read from the environment."""

from dataclasses import dataclass
from pathlib import Path

API_VERSION = "2026-10-28.endive"
"""What events are rendered as when the endpoint asks for nothing else; the version of stripe-python 16.1."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where webhooks go. Several secrets sign side by side, as during a rotation; none leaves the header out."""

    url: str
    secrets: tuple[str, ...] = ()
    connect: bool = False
    """Whether it gets the events of connected accounts, instead of those of one account."""
    account: str | None = None
    """The account with a key of its own whose events it gets; None for that of the platform."""


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration of one simulator; every time is in seconds."""

    endpoints: tuple[Endpoint, ...] = ()
    approvals: Endpoint | None = None
    """Who is asked to approve a session's payment before it is confirmed; None asks nobody."""
    api_key: str | None = None
    """The only accepted key; None accepts every test mode secret key."""
    accounts: tuple[str, ...] = ()
    """The connected accounts of the platform."""
    keys: tuple[tuple[str, str], ...] = ()
    """Keys of accounts that have one of their own: key and account."""
    seed: int = 0
    """Seeds the random choices of faults with a share or a spread delay."""
    first_retry: float = 1.0
    """A webhook that was not answered with 2xx is sent again after this, then after twice this, and so on."""
    longest_retry: float = 60.0
    attempts: int | None = None
    """Attempts for each webhook before it is given up; None goes on for ever."""
    public_url: str | None = None
    """Base URL of the pay pages; None takes the address that the API was called at."""
    state_file: Path | None = None
    """File that keeps the state across restarts; None keeps it in memory."""
    api_version: str = API_VERSION
