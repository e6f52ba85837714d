"""The Stripe clients of all shops: of the platform, its connected accounts, and accounts with keys of their own."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache

from stripe import HTTPXClient, StripeClient

from core.payment_settings import PaymentSettings
from core.shop_accounts import OWN_KEY, PLATFORM, ShopAccount
from domain.payments import Payment
from payments.client import CALL_SECONDS, PaymentClient
from payments.status import PaymentState, PaymentStatus


class PaymentAccounts:
    """Finds the client for a shop's payments by the shop's configuration, whoever asks."""

    def __init__(
        self, default: Sequence[PaymentClient], by_shop: Mapping[str, Sequence[PaymentClient]] | None = None
    ) -> None:
        self._default = default
        self._by_shop = by_shop or {}

    def of_shop(self, shop_id: str) -> PaymentClient | None:
        """Return the client for new payments of the shop; None without a key."""
        return next(iter(self._clients(shop_id)), None)

    def at(self, shop_id: str, place: str) -> PaymentClient | None:
        """Return the client of this account, None if the shop has no payments there by this configuration."""
        return next((client for client in self._clients(shop_id) if client.place == place), None)

    async def check(self, shop_id: str, payment: Payment) -> PaymentStatus | None:
        """Return the status of the shop's payment, from the account that has it; None without a key.

        Raises as PaymentClient.check.
        """
        found = None
        for client in self._clients(shop_id):
            found = await client.check(session_id=payment.session_id, intent_id=payment.payment_intent_id)
            if found.state is not PaymentState.UNKNOWN:
                break
        return found

    async def holding(self, shop_id: str, payment: Payment) -> PaymentClient | None:
        """Return the client of the account that has this payment of the shop: the present account or a former one.

        Where none has it, or only one can, that is the present account's. Raises as PaymentClient.check.
        """
        clients = self._clients(shop_id)
        for client in clients if len(clients) > 1 else ():
            found = await client.check(session_id=payment.session_id, intent_id=payment.payment_intent_id)
            if found.state is not PaymentState.UNKNOWN:
                return client
        return next(iter(clients), None)

    @property
    def each(self) -> Sequence[PaymentClient]:
        """The clients of all accounts, each once."""
        return list(dict.fromkeys([*self._default, *(each for clients in self._by_shop.values() for each in clients)]))

    def has_payments_of(self, shop_id: str, client: PaymentClient) -> bool:
        """Return whether the shop has payments in the client's account: metadata of others' can name any hold."""
        return client in self._clients(shop_id)

    def _clients(self, shop_id: str) -> Sequence[PaymentClient]:
        return self._by_shop.get(shop_id, self._default)


@asynccontextmanager
async def open_accounts(settings: PaymentSettings) -> AsyncIterator[PaymentAccounts]:
    """Yield the clients of all accounts, which share a connection pool of their own. It is closed at the end."""
    if settings.stripe_live_mode is None:  # no key at all; the pool would load all certificates
        yield PaymentAccounts([])
        return
    http = HTTPXClient(timeout=CALL_SECONDS)

    @cache
    def client(key: str, place: str) -> PaymentClient:
        return PaymentClient(
            StripeClient(
                key,
                stripe_account=None if place in (PLATFORM, OWN_KEY) else place,
                base_addresses={"api": settings.stripe_api_base},
                http_client=http,
                max_network_retries=0,
            ),
            place,
        )

    platform_key = settings.stripe_api_key.get_secret_value() if settings.stripe_api_key else None

    def clients(account: ShopAccount) -> list[PaymentClient]:
        own = [] if account.key_file is None else [client(account.key_file.get_secret_value(), OWN_KEY)]
        return own + [client(platform_key, place) for place in account.places if platform_key is not None]

    try:
        yield PaymentAccounts(
            [] if platform_key is None else [client(platform_key, PLATFORM)],
            {shop_id: clients(account) for shop_id, account in settings.shop_accounts.items()},
        )
    finally:
        await http.close_async()  # type: ignore[no-untyped-call]
