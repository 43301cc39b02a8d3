"""A public function's call where torch writes programs down: torch.fx as one node, torch.jit.trace without warnings.

torch.compile, torch.export and make_fx need none of this. Nothing here imports torch: who records has done so.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar, cast

#: A function of arrays of either kind, as its signature says; a ParamSpec would lose which kinds go together.
F = TypeVar("F", bound=Callable[..., Any])


def recordable(function: F) -> F:
    """The function itself, unless torch.fx asks or torch.jit.trace listens.

    `torch.fx.symbolic_trace` calls with proxies, which have neither shape nor value: the call becomes one node of the
    graph. `torch.jit.trace` warns of every number that is read from a shape, since it takes it for a constant; here
    such numbers are only checked, and what is recorded holds for other shapes too.
    """

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        fx: Any = sys.modules.get("torch.fx._symbolic_trace")
        if fx is not None:
            if fx._is_fx_tracing_flag and (proxies := [*_proxies((args, kwargs))]):
                return type(proxies[0]).__torch_function__(call, (), args, kwargs)
            if sys.modules["torch"]._C._get_tracing_state() is not None:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", sys.modules["torch"].jit.TracerWarning)
                    return function(*args, **kwargs)
        return function(*args, **kwargs)

    return cast(F, call)


def is_proxy(value: object) -> bool:
    """Whether a value stands for one that torch.fx does not know yet."""
    fx: Any = sys.modules.get("torch.fx")
    return fx is not None and isinstance(value, fx.Proxy)


def listed(values: Any, count: int) -> list[Any]:
    """The values as a list; of a proxy, whose length nobody knows, the first `count`."""
    return [values[index] for index in range(count)] if is_proxy(values) else list(values)


def _proxies(value: object) -> Iterable[Any]:
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from _proxies(one)
    elif isinstance(value, dict):
        yield from _proxies(list(value.values()))
    elif is_proxy(value):
        yield value
