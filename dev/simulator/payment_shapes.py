"""PaymentIntents, charges, refunds, disputes and payment methods as Stripe's API shows them."""

from dev.simulator.records import Charge, Dispute, Intent, Json, PaymentMethod, Refund

_CARD: Json = {
    "brand": "visa",
    "country": "US",
    "exp_month": 12,
    "exp_year": 2034,
    "funding": "credit",
    "last4": "4242",
}

_METHODS: dict[str, Json] = {
    "card": {**_CARD, "fingerprint": None, "wallet": None},
    "us_bank_account": {"account_holder_type": "individual", "account_type": "checking", "last4": "6789"},
    "sepa_debit": {"bank_code": "19043", "branch_code": "", "country": "AT", "fingerprint": None, "last4": "3201"},
    "bacs_debit": {"fingerprint": None, "last4": "2345", "sort_code": "108800"},
    "boleto": {"tax_id": "000.000.000-00"},
    "konbini": {},
    "oxxo": {},
    "klarna": {"payment_method_category": "pay_later", "preferred_locale": "en-DE"},
    "customer_balance": {},
}

_BILLING: Json = {
    "address": dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state")),
    "email": None,
    "name": "A. Shopper",
    "phone": None,
    "tax_id": None,
}


def intent(record: Intent) -> Json:
    """Render a PaymentIntent."""
    return {
        "id": record.id,
        "object": "payment_intent",
        "amount": record.amount,
        "amount_capturable": record.amount_capturable,
        "amount_details": {"tip": {}},
        "amount_received": record.amount_received,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": record.automatic,
        "canceled_at": record.canceled_at,
        "cancellation_reason": record.cancellation_reason,
        "capture_method": record.capture_method,
        "client_secret": record.client_secret,
        "confirmation_method": record.confirmation_method,
        "created": record.created,
        "currency": record.currency,
        "customer": record.customer,
        "description": record.description,
        "last_payment_error": record.last_payment_error,
        "latest_charge": record.latest_charge,
        "livemode": False,
        "metadata": record.metadata,
        "next_action": record.next_action,
        "on_behalf_of": None,
        "payment_method": record.payment_method,
        "payment_method_configuration_details": None,
        "payment_method_options": {},
        "payment_method_types": record.payment_method_types,
        "processing": None,
        "receipt_email": record.receipt_email,
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": record.status,
        "transfer_data": None,
        "transfer_group": None,
        **record.routing,
    }


def charge(record: Charge) -> Json:
    """Render a charge."""
    return {
        "id": record.id,
        "object": "charge",
        "amount": record.amount,
        "amount_captured": record.amount_captured,
        "amount_refunded": record.amount_refunded,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": record.balance_transaction,
        "billing_details": _BILLING,
        "calculated_statement_descriptor": "SIMULATOR",
        "captured": record.captured,
        "created": record.created,
        "currency": record.currency,
        "customer": None,
        "description": record.description,
        "disputed": record.disputed,
        "failure_balance_transaction": None,
        "failure_code": record.failure_code,
        "failure_message": record.failure_message,
        "fraud_details": {},
        "livemode": False,
        "metadata": record.metadata,
        "on_behalf_of": None,
        "outcome": _outcome(record),
        "paid": record.status == "succeeded",
        "payment_intent": record.payment_intent,
        "payment_method": record.payment_method,
        "payment_method_details": {"type": record.method_type, record.method_type: _METHODS[record.method_type]},
        "receipt_email": None,
        "receipt_number": None,
        "receipt_url": None,
        "refunded": record.amount_refunded == record.amount and record.status == "succeeded",
        "review": None,
        "shipping": None,
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": record.status,
        "transfer_data": None,
        "transfer_group": None,
        **_routing(record),
    }


def _routing(record: Charge) -> Json:
    given = dict(record.routing)
    if "transfer_data" in given:
        given["transfer_data"] = {"amount": None, **given["transfer_data"]}
    return given


def _outcome(record: Charge) -> Json:
    failed = record.status == "failed"
    return {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": "declined_by_network" if failed else "approved_by_network",
        "reason": record.decline_code,
        "risk_level": "normal",
        "risk_score": 20,
        "seller_message": "The payment failed." if failed else "Payment complete.",
        "type": "issuer_declined" if failed else "authorized",
    }


def refund(record: Refund) -> Json:
    """Render a refund."""
    shape: Json = {
        "id": record.id,
        "object": "refund",
        "amount": record.amount,
        "balance_transaction": None,
        "charge": record.charge,
        "created": record.created,
        "currency": record.currency,
        "metadata": record.metadata,
        "payment_intent": record.payment_intent,
        "reason": record.reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": record.status,
        "transfer_reversal": None,
    }
    if record.failure_reason is not None:
        shape["failure_reason"] = record.failure_reason
    if record.status == "pending":
        shape["pending_reason"] = "processing"
    return shape


def dispute(record: Dispute) -> Json:
    """Render a dispute without any evidence handed in."""
    return {
        "id": record.id,
        "object": "dispute",
        "amount": record.amount,
        "balance_transactions": [],
        "charge": record.charge,
        "created": record.created,
        "currency": record.currency,
        "enhanced_eligibility_types": [],
        "evidence": {"enhanced_evidence": {}},
        "evidence_details": {
            "due_by": record.created + 14 * 86_400,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        "is_charge_refundable": False,
        "livemode": False,
        "metadata": {},
        "payment_intent": record.payment_intent,
        "reason": record.reason,
        "status": record.status,
    }


def payment_method(record: PaymentMethod) -> Json:
    """Render a payment method."""
    return {
        "id": record.id,
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": _BILLING,
        "created": record.created,
        "customer": None,
        "livemode": False,
        "metadata": {},
        "type": record.type,
        record.type: _METHODS[record.type],
    }
