"""What the modules of other packages have in common."""

from __future__ import annotations

from typing import ClassVar

from torch import nn


class DescribedModule(nn.Module):
    """A module whose `repr` shows the arguments it was made with, as ``Name(first=..., second=...)``."""

    shown: ClassVar[tuple[str, ...]] = ()

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.shown)
