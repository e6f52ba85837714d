"""The calls to Stripe and the reading of its objects. No type of Stripe's library leaves this package."""
