"""A clear error for `torch.jit.script`, which does not support these modules."""

from __future__ import annotations

from torch import nn


class NotScriptable(nn.Module):
    """A module whose error under `torch.jit.script` says what to use instead."""

    def __prepare_scriptable__(self) -> nn.Module:
        raise NotImplementedError(
            f"torch.jit.script: {type(self).__qualname__} is not supported; use torch.jit.trace, torch.export or "
            "torch.compile instead, or script torchvision's own module and call roialign.compat.torchvision.install()"
        )
