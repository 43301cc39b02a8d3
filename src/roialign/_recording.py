"""Support for torch.fx, where a call of a public function becomes one node, and for torch.jit.trace.

torch.compile, torch.export and make_fx do not need this. Nothing here imports torch; a caller that records has done so.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar, cast

#: A function of NumPy arrays or tensors. A ParamSpec would lose the relation between the types of its arguments.
F = TypeVar("F", bound=Callable[..., Any])


_NUMBERS_AND_TEXT = frozenset({int, float, bool, str, type(None)})


def recordable(function: F) -> F:
    """Let torch.fx and torch.jit.trace record a function.

    `torch.fx.symbolic_trace` passes proxies, which have neither shape nor values. The call then becomes one node of the
    graph. `torch.jit.trace` warns about every number that is read from a shape, because it records it as a constant.
    Here these numbers are only checked, so the recording is valid for other shapes too, and the warnings are
    suppressed.
    """

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        proxies: Any = getattr(sys.modules.get("torch.fx"), "Proxy", None)
        if proxies is not None:
            torch: Any = sys.modules["torch"]
            proxy = _first_proxy(args, proxies, torch.Tensor)
            if proxy is None and kwargs:
                proxy = _first_proxy(kwargs.values(), proxies, torch.Tensor)
            if proxy is not None:
                return type(proxy).__torch_function__(call, (), args, kwargs)
            if torch._C._get_tracing_state() is not None:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", torch.jit.TracerWarning)
                    return function(*args, **kwargs)
        return function(*args, **kwargs)

    return cast(F, call)


def is_proxy(value: object) -> bool:
    """Whether a value is a proxy of torch.fx."""
    fx: Any = sys.modules.get("torch.fx")
    return fx is not None and isinstance(value, fx.Proxy)


def _first_proxy(values: Iterable[Any], proxies: type, tensors: type) -> Any:
    """Return the first proxy among values and what they contain, or None."""
    for value in values:
        kind = type(value)
        if kind is tensors or kind in _NUMBERS_AND_TEXT:  # for the speed of small calls
            continue
        if isinstance(value, proxies):
            return value
        if isinstance(value, (list, tuple, dict)):
            found = _first_proxy(value.values() if isinstance(value, dict) else value, proxies, tensors)
            if found is not None:
                return found
    return None
