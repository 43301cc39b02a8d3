"""Modules that hold the arguments of a function and have the same signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor

from .. import _validate
from ..torch.modules.held import bound_arguments
from ._calls import asserting
from ._module import DescribedModule, check_arguments
from ._names import renaming

#: The arguments of a function that are given at every call.
PER_CALL = ("input", "features", "rois", "boxes")


class HeldFunction(DescribedModule):
    """``Module(rest of the arguments)(input, rois)`` is ``function(input, rois, rest of the arguments)``."""

    function: ClassVar[Callable[..., Tensor]]
    #: Arguments that are required by the module, although its function has a default for them.
    required: ClassVar[tuple[str, ...]] = ()
    #: Whether an output size given as one number is stored as a pair.
    holds_pair: ClassVar[bool] = False
    __signature__: ClassVar[inspect.Signature]

    def __init_subclass__(cls) -> None:
        given = inspect.signature(cls.function).parameters.values()
        kept = [parameter for parameter in given if parameter.name not in PER_CALL]
        cls.__signature__ = inspect.Signature(
            [one.replace(default=inspect.Parameter.empty) if one.name in cls.required else one for one in kept]
        )
        cls.shown = tuple(parameter.name for parameter in kept)

    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__()
        for name, value in bound_arguments(self, self.__signature__, values, named).items():
            is_pair = name == "output_size" and self.holds_pair
            setattr(self, name, _validate.check_output_size(value) if is_pair else value)
        check_arguments(self, HeldFunction.forward)

    @asserting
    @renaming(boxes="rois")
    def forward(self, input: Tensor, rois: Any) -> Tensor:
        held = {name: getattr(self, name) for name in self.shown}
        return type(self).function(input, rois, **held)
