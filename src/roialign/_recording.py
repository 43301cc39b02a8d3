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


def recordable(function: F) -> F:
    """Let torch.fx and torch.jit.trace record a function.

    `torch.fx.symbolic_trace` passes proxies, which have neither shape nor values. The call then becomes one node of the
    graph. `torch.jit.trace` warns about every number that is read from a shape, because it records it as a constant.
    Here these numbers are only checked, so the recording is valid for other shapes too, and the warnings are
    suppressed.
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
    """Whether a value is a proxy of torch.fx."""
    fx: Any = sys.modules.get("torch.fx")
    return fx is not None and isinstance(value, fx.Proxy)


def listed(values: Any, count: int) -> list[Any]:
    """The values as a list. A proxy has no known length, so the first `count` items are taken."""
    return [values[index] for index in range(count)] if is_proxy(values) else list(values)


def _proxies(value: object) -> Iterable[Any]:
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from _proxies(one)
    elif isinstance(value, dict):
        yield from _proxies(list(value.values()))
    elif is_proxy(value):
        yield value
