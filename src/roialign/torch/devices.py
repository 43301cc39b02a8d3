"""Check the device to run on before any work."""

from __future__ import annotations

import torch


def check_device(device: str | torch.device) -> torch.device:
    """Return the device if this PyTorch can use it.

    Raises
    ------
    ValueError
        If it cannot. The message says what is missing, and what to use instead.
    """
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(f'device: expected "cpu", "cuda" or "cuda:1", got {device!r}') from None
    if wanted.type not in ("cpu", "cuda"):
        raise ValueError(f"device: expected the CPU or a CUDA device, got {str(wanted)!r}")
    if wanted.type == "cuda":
        missing = why_no_cuda()
        if missing:
            raise ValueError(f'device: {str(wanted)!r} needs a CUDA device, but {missing}; use "cpu"')
        found = torch.cuda.device_count()
        if wanted.index is not None and wanted.index >= found:
            raise ValueError(
                f"device: expected an index below {found}, the number of CUDA devices, got {str(wanted)!r}"
            )
    return wanted


def why_no_cuda() -> str:
    """Why there is no CUDA device, or an empty string if there is one."""
    if torch.version.cuda is None and torch.version.hip is None:
        return f"this PyTorch, {torch.__version__}, is built without CUDA"
    if not torch.cuda.is_available():
        return f"PyTorch {torch.__version__} finds none"
    return ""
