"""Which Stripe account sent an event, and whose holds that account may speak for."""

from collections.abc import Mapping
from dataclasses import dataclass

from core.shop_accounts import PLATFORM, ShopAccount
from payments.events import StripeEvent


@dataclass(frozen=True, slots=True)
class EventOrigin:
    """An account of the platform's key, or the shops of an account with a key of its own."""

    place: str = PLATFORM
    shops: frozenset[str] | None = None

    @classmethod
    def of(cls, event: StripeEvent, secret: str | None, accounts: Mapping[str, ShopAccount]) -> "EventOrigin | None":
        """Return where an event comes from that this secret signed; None for an account that no shop has."""
        own = [
            shop_id
            for shop_id, account in accounts.items()
            if secret in [each.get_secret_value() for each in account.webhook_secret_file]
        ]
        if own:
            return None if event.account is not None else cls(shops=frozenset(own))
        place = event.account or PLATFORM
        if place == PLATFORM or any(place in (account.account, *account.places) for account in accounts.values()):
            return cls(place)
        return None

    def has_payments_of(self, shop_id: str, accounts: Mapping[str, ShopAccount]) -> bool:
        """Return whether the shop has payments there: the metadata of another account's payment can name any hold."""
        if self.shops is not None:
            return shop_id in self.shops
        account = accounts.get(shop_id)
        return self.place in ((PLATFORM,) if account is None else account.places)
