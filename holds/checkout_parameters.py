"""Keeps the parameters of a Checkout Session out of the workflow's history where they may have personal data."""

import hashlib
import json

from sqlalchemy.ext.asyncio import AsyncEngine

from core.sealing import Sealer
from core.settings import Settings
from core.shop_accounts import PLATFORM
from domain.holds import HoldKey
from holds.errors import PaymentsNotConfiguredError
from inventory.checkout_parameters import keep_parameters
from payments.account_params import with_account
from payments.session_params import Order, of_hold, session_params
from workflows.messages import Checkout

_NO_SECRET = "HOLDFAST_CHECKOUT_SECRET is not set, with which the parameters in `stripe` are encrypted."  # noqa: S105


class CheckoutParameters:
    """Makes the message that asks a workflow to open a Checkout Session."""

    def __init__(self, engine: AsyncEngine, settings: Settings) -> None:
        self._engine = engine
        self._accounts = settings.shop_accounts
        self._sealer = Sealer(settings.checkout_secrets) if settings.checkout_secrets else None

    async def checkout(self, key: HoldKey, order: Order) -> Checkout:
        """Return the message. Private parameters are kept in the database, encrypted, and the message has their id.

        Raises PaymentsNotConfiguredError if they cannot be kept, and UnknownFeeError.
        """
        account = self._accounts.get(order.shop_id)
        place = PLATFORM if account is None else account.present
        params = with_account(of_hold(session_params(order), order.reference), account, order.lines)
        if not order.is_private:
            return Checkout(params, account=place)
        if self._sealer is None:
            raise PaymentsNotConfiguredError(_NO_SECRET)
        # A repeat keeps nothing again.
        content = json.dumps([*key, order.page, params], sort_keys=True, default=str)
        parameters_id = hashlib.sha256(content.encode()).hexdigest()[:32]
        await keep_parameters(self._engine, parameters_id, *key, self._sealer.seal(params))
        return Checkout({}, parameters_id, place)
