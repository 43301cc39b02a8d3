"""A plugin for pytest: torchvision as its source is, with its operators computed by `roialign.compat.torchvision`.

The Python of torchvision's source package is imported as it stands. In the place of its compiled library, which would
have to be built for this torch, come the operators with the schemas that its C++ source states, and no kernels: every
answer is then ours, by `install()`. Suppression, which `install()` leaves alone, is that of our detectors.

``ROIALIGN_TORCHVISION_SOURCE`` names the unpacked source.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from roialign.detection.boxes import fixed_point_nms

SOURCE = Path(os.environ["ROIALIGN_TORCHVISION_SOURCE"]).resolve()
#: What is loaded in the place of the library: an empty file, which torchvision must find.
LIBRARY = SOURCE / "torchvision" / "_C.so"

_libraries: list[torch.library.Library] = []
_load_library = torch.ops.load_library


def schemas() -> list[str]:
    """Of all operators, as the source has them: ``m.def(TORCH_SELECTIVE_SCHEMA("torchvision::...")``."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((SOURCE / "torchvision/csrc/ops").glob("*.cpp"))]
    return [
        schema for text in texts for schema in re.findall(r'TORCH_SELECTIVE_SCHEMA\(\s*"torchvision::([^"]+)"', text)
    ]


def load_library(path: Any) -> None:
    if Path(path).resolve() != LIBRARY:
        _load_library(path)
        return
    library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for schema in [*schemas(), "_cuda_version() -> int"]:
        library.define(schema)
    library.impl("_cuda_version", lambda: -1, "CompositeExplicitAutograd")
    library.impl("nms", suppress, "CPU")
    _libraries.append(library)


def suppress(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    return fixed_point_nms(boxes, scores, threshold)


LIBRARY.touch()
torch.ops.load_library = load_library  # type: ignore[method-assign]
sys.path[:0] = [str(SOURCE), str(SOURCE / "test")]

import torchvision  # noqa: E402

from roialign.compat.torchvision import install  # noqa: E402

assert Path(torchvision.__file__).is_relative_to(SOURCE), torchvision.__file__
install()
