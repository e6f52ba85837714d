"""Which parameters of a Checkout Session the caller may set, by Stripe's names, and why not the others.

A test compares the tables with the parameters of the installed `stripe`: each parameter is in exactly one of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

UI_MODES = ("hosted_page", "embedded_page", "elements")
"""`form`, the fourth, is a private preview of Stripe's."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of one of Stripe's objects."""

    passed: frozenset[str]
    """The caller sets them; Holdfast sends them as they are."""
    own: Mapping[str, str]
    """Holdfast sets them: from which field of the request, or to what."""
    refused: Mapping[str, str]
    """Why nobody sets them."""

    def reason(self, name: str) -> str | None:
        """Return why the caller cannot set the parameter, or None if he can."""
        if name in self.passed:
            return None
        if name in self.own:
            return f"is set by Holdfast: {self.own[name]}"
        return self.refused.get(name, "is not a parameter that Holdfast knows here")


_NOT_A_PAYMENT = "is of another mode than payment, and a hold is paid for once"
_CONNECT = "moves money to another account, which one checkout cannot decide"

SESSION = Parameters(
    passed=frozenset(
        {
            "adaptive_pricing",
            "after_expiration",
            "allow_promotion_codes",
            "automatic_tax",
            "billing_address_collection",
            "branding_settings",
            "consent_collection",
            "currency",
            "custom_fields",
            "custom_text",
            "customer",
            "customer_account",
            "customer_creation",
            "customer_email",
            "customer_update",
            "discounts",
            "excluded_payment_method_types",
            "integration_identifier",
            "invoice_creation",
            "name_collection",
            "origin_context",
            "payment_intent_data",
            "payment_method_configuration",
            "payment_method_data",
            "payment_method_options",
            "permissions",
            "phone_number_collection",
            "redirect_on_completion",
            "return_url",
            "saved_payment_method_options",
            "shipping_address_collection",
            "shipping_options",
            "submit_type",
            "tax_id_collection",
            "ui_mode",
            "wallet_options",
        }
    ),
    own={
        "allowed_payment_method_types": "`paymentMethodTypes`",
        "cancel_url": "`cancelUrl`",
        "client_reference_id": "`reference`",
        "line_items": "`items` and `extraLines`",
        "locale": "`locale`",
        "metadata": "`metadata`",
        "mode": "always payment",
        "success_url": "`successUrl`",
    },
    refused={
        "expand": "changes the answer of Stripe, which only Holdfast reads",
        "expires_at": "would end the page at another time than the hold; `ttlSeconds` sets how long the hold lives",
        "managed_payments": "makes Stripe the seller, who refunds without asking; a refund would not return the stock",
        "optional_items": "lets the shopper add items for which no stock is held",
        "payment_method_collection": _NOT_A_PAYMENT,
        "setup_intent_data": _NOT_A_PAYMENT,
        "subscription_data": _NOT_A_PAYMENT,
    },
)

PAYMENT_INTENT = Parameters(
    passed=frozenset(
        {
            "description",
            "receipt_email",
            "setup_future_usage",
            "shipping",
            "statement_descriptor",
            "statement_descriptor_suffix",
        }
    ),
    own={"capture_method": "`captureMethod`", "metadata": "`metadata`"},
    refused={
        "application_fee_amount": _CONNECT,
        "on_behalf_of": _CONNECT,
        "transfer_data": _CONNECT,
        "transfer_group": _CONNECT,
    },
)

LINE = Parameters(
    passed=frozenset(),
    own={
        "price": "`price`",
        "price_data": "`unitAmount`, `currency` and `name`",
        "quantity": "`quantity`",
    },
    refused={
        "adjustable_quantity": "lets the shopper pay for another number of units than is held",
        "metadata": "names nothing that Holdfast reads; use `metadata`",
        "tax_rates": "is not passed on; use `stripe.automatic_tax` with `taxCode` and `taxBehavior`",
    },
)

PRICE = Parameters(
    passed=frozenset(),
    own={
        "currency": "`currency`",
        "product_data": "`name`, `description`, `images`, `taxCode` and `productData`",
        "tax_behavior": "`taxBehavior`",
        "unit_amount": "`unitAmount`",
    },
    refused={
        "product": "is not passed on; use the `price` of a product that Stripe has",
        "recurring": _NOT_A_PAYMENT,
        "unit_amount_decimal": "has parts of the smallest unit; use `unitAmount`",
    },
)

PRODUCT = Parameters(
    passed=frozenset({"metadata", "tax_details", "unit_label"}),
    own={
        "description": "`description`",
        "images": "`images`",
        "name": "`name`",
        "tax_code": "`taxCode`",
    },
    refused={},
)
