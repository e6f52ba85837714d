"""Stripe, translated at the door: nothing of its library goes past this package."""
