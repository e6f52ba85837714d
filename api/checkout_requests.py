"""The bodies of requests for a page to pay on."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from api.requests import (
    MAX_LINES,
    BrowserExtensions,
    HoldId,
    LineIn,
    MetadataKey,
    MetadataValue,
    Quantity,
    Reference,
    Replace,
    Ttl,
    WarnBefore,
)
from core.json_model import Model
from domain.fields import Buyer, Matching, Printable, ShopId, Text
from payments.events import RESERVED_METADATA

Url = Annotated[
    str,
    StringConstraints(max_length=2000),
    Matching(
        r"https?://[^\s/\x00-\x1f\x7f]+[^\s\x00-\x1f\x7f]*",
        "must be an address that begins with https:// or http://, without spaces and control characters",
    ),
    Field(examples=["https://shop.example/paid"]),
]


Description = Annotated[str, StringConstraints(min_length=1, max_length=1000), Printable]


class PricedIn(Model):
    """The price of one unit: a price of Stripe's, or name, amount and currency."""

    name: Text | None = None
    unit_amount: Annotated[
        int | None,
        Field(
            strict=True,
            ge=0,
            le=999_999_999_999,
            description="In the currency's smallest unit: cents, yen. In thousandths for BHD, JOD, KWD, OMR and TND, "
            "whose last digit is 0; in hundredths for ISK and UGX, whose last two digits are 0.",
        ),
    ] = None
    currency: (
        Annotated[
            str,
            Matching("[A-Za-z]{3}", "must be three letters"),
            Field(description="The same on every line.", examples=["eur"]),
        ]
        | None
    ) = None
    price: (
        Annotated[
            str,
            Matching("[A-Za-z0-9_]{1,255}", "must be 1 to 255 letters, digits or '_'"),
            Field(examples=["price_1Pq2Rs"]),
        ]
        | None
    ) = None
    description: Annotated[Description, Field(description="Shown below the name.")] | None = None
    images: Annotated[list[Url], Field(min_length=1, max_length=8, description="Addresses of pictures.")] | None = None
    tax_code: (
        Annotated[
            str,
            Matching("txcd_[0-9]{1,20}", "must be a tax code of Stripe's: txcd_…"),
            Field(examples=["txcd_30011000"]),
        ]
        | None
    ) = None
    tax_behavior: Annotated[
        Literal["exclusive", "inclusive", "unspecified"] | None,
        Field(description="Whether `unitAmount` includes the tax."),
    ] = None
    product_data: Annotated[
        dict[str, Any],
        Field(description="Further `product_data`, by Stripe's names: metadata, tax_details, unit_label."),
    ] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_price(self) -> Self:
        spelt_out = [self.name, self.unit_amount, self.currency]
        if self.price is None and None in spelt_out:
            raise ValueError("must have price, or name, unitAmount and currency")
        more = [self.description, self.images, self.tax_code, self.tax_behavior, self.product_data or None]
        if self.price is not None and any(each is not None for each in spelt_out + more):
            raise ValueError(
                "must have either price, or name, unitAmount and currency; description, images, taxCode, taxBehavior "
                "and productData belong to the second"
            )
        return self


class CheckoutLineIn(LineIn, PricedIn):
    """An item, a number of units, and the price of one: a price of Stripe's, or name, amount and currency."""


class ExtraLineIn(PricedIn):
    """Something to pay for that is not stock: shipping, a fee, gift wrap, a download."""

    quantity: Quantity = 1


class PageIn(Model):
    """A cart to pay for in a Stripe Checkout Session."""

    items: Annotated[list[CheckoutLineIn], Field(min_length=1, max_length=MAX_LINES)]
    extra_lines: Annotated[
        list[ExtraLineIn],
        Field(max_length=MAX_LINES - 1, description="Paid for but not held. With `items` at most 100 lines."),
    ] = Field(default_factory=list)
    success_url: Annotated[
        Url | None, Field(description="Required unless `stripe.ui_mode` is `embedded_page` or `elements`.")
    ] = None
    cancel_url: Url | None = None
    capture_method: Annotated[
        Literal["automatic", "manual"], Field(description="`manual`: the money is authorised, and taken on commit.")
    ] = "automatic"
    payment_method_types: Annotated[
        list[
            Annotated[str, Matching("[a-z][a-z0-9_]{0,49}", "must be 1 to 50 of a-z, 0-9 and '_', the first a letter")]
        ]
        | None,
        Field(
            min_length=1, max_length=30, description="Those of your Stripe account unless given.", examples=[["card"]]
        ),
    ] = None
    locale: (
        Annotated[
            str,
            Matching("[A-Za-z][A-Za-z0-9-]{0,9}", "must be 1 to 10 letters, digits or '-', the first a letter"),
            Field(examples=["de"]),
        ]
        | None
    ) = None
    metadata: Annotated[
        dict[MetadataKey, MetadataValue],
        Field(max_length=40, description="Further metadata of session and PaymentIntent. No personal data."),
    ] = Field(default_factory=dict)
    stripe: Annotated[
        dict[str, Any],
        Field(
            description="Further parameters of the Checkout Session by Stripe's names, for example "
            "`shipping_address_collection`, `automatic_tax`, `customer_email`, `ui_mode`. docs/checkout.md lists them. "
            "Encrypted while the hold lasts; needs HOLDFAST_CHECKOUT_SECRET.",
            examples=[{"automatic_tax": {"enabled": True}}],
        ),
    ] = Field(default_factory=dict)

    @field_validator("metadata")
    @classmethod
    def _own_metadata(cls, metadata: dict[str, str]) -> dict[str, str]:
        if reserved := sorted(RESERVED_METADATA & set(metadata)):
            raise ValueError(f"must leave {', '.join(reserved)} to Holdfast")
        return metadata


class CheckoutIn(PageIn):
    """A cart to hold and to pay for in a Stripe Checkout Session."""

    shop_id: ShopId
    ttl_seconds: Ttl | None = None
    hold_id: HoldId | None = None
    reference: Reference | None = None
    replace: Replace = False
    browser_extensions: BrowserExtensions = 0
    warn_before_seconds: WarnBefore | None = None
    buyer: Buyer | None = None
