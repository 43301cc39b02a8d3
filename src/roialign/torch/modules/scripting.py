"""What TorchScript's compiler is told."""

from __future__ import annotations

from torch import nn


class NotScriptable(nn.Module):
    """A module that says what to do where `torch.jit.script` would compile it."""

    def __prepare_scriptable__(self) -> nn.Module:
        raise NotImplementedError(
            f"torch.jit.script: {type(self).__qualname__} has no TorchScript. Use torch.jit.trace, torch.export or "
            "torch.compile, which record it; or keep torchvision's own module in the model, script that, and let "
            "roialign.compat.torchvision.install() compute it"
        )
