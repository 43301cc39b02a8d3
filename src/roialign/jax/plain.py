"""Calls that need no conversion. JAX has no short way for them: it traces a call once and compiles it."""

from __future__ import annotations

from .call import Call

#: Checks the arguments of a call.
prepare = Call


def forward(*call: object) -> None:
    """No call is plain: :mod:`roialign.jax.call` takes all of them."""
