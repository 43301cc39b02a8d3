"""`roialign export`: what is printed while it works. tests/detection/test_exporting.py checks the files."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.commands.invoked import invoke, told
from tests.files.checkpoints import readable

#: A logger of PyTorch's exporter.
LOGGER = "torch.onnx._internal.exporter._core"


@pytest.mark.parametrize("level", [logging.NOTSET, logging.INFO, logging.CRITICAL])
def test_the_exporter_is_silent_and_its_log_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: int
) -> None:
    logger, heard = logging.getLogger("torch.onnx"), []
    before = logger.level

    def export(*_: object, **__: object) -> Any:
        heard.append(logging.getLogger(LOGGER).isEnabledFor(logging.WARNING))
        warnings.warn("about itself", UserWarning, stacklevel=1)
        raise RuntimeError("it failed")

    monkeypatch.setattr(torch.onnx, "export", export)
    (tmp_path / "w.pt").write_bytes(readable()["its own"])
    logger.setLevel(level)
    try:
        result = invoke("export", "--weights", tmp_path / "w.pt", "--out", tmp_path / "m.onnx")
        assert logger.level == level
    finally:
        logger.setLevel(before)
    assert heard == [False]
    assert told(result) == ["it failed"]
    first = "exporting mask-rcnn on resnet18-fpn as an ONNX model: this may take a few minutes"
    assert result.stderr.splitlines()[0] == first
    assert "about itself" not in result.output
