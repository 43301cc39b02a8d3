"""Modules that hold the arguments of a function, with that function's signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor

from ._module import DescribedModule

#: What a function gets anew with every call.
PER_CALL = ("input", "features", "rois", "boxes")


class HeldFunction(DescribedModule):
    """``Module(rest of the arguments)(input, rois)`` is ``function(input, rois, rest of the arguments)``."""

    function: ClassVar[Callable[..., Tensor]]
    __signature__: ClassVar[inspect.Signature]

    def __init_subclass__(cls) -> None:
        given = inspect.signature(cls.function).parameters.values()
        kept = [parameter for parameter in given if parameter.name not in PER_CALL]
        cls.__signature__ = inspect.Signature(kept)
        cls.shown = tuple(parameter.name for parameter in kept)

    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__()
        bound = self.__signature__.bind(*values, **named)
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            setattr(self, name, value)

    def forward(self, input: Tensor, rois: Any) -> Tensor:
        held = {name: getattr(self, name) for name in self.shown}
        return type(self).function(input, rois, **held)
