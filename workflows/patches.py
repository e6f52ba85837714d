"""The names of the workflows' patches: a run whose history lacks one keeps to the commands that it has recorded."""

GRACE_ENDS_EARLY = "grace-ends-early"
"""Since then the failure of a payment ends its grace period."""

END_KEEPS_HOLD = "end-of-own-payment-keeps-the-hold"
"""Since then the end of a payment that the shop opened does not release the hold."""

ATTACHES_ANEW = "attaches-anew"
"""Since then a payment whose place another one took can be attached again."""
