"""A detector that is cast, or made without memory, finds the same boxes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from roialign.detection import TwoStageDetector
from roialign.detection.rpn import Anchors
from tests.detection.detectors import SETTINGS

IMAGE = torch.rand(3, 96, 128, generator=torch.Generator().manual_seed(0))


def _detector() -> TwoStageDetector:
    torch.manual_seed(0)
    return SETTINGS.build().eval()


def _assert_same(made: TwoStageDetector, detector: TwoStageDetector) -> None:
    with torch.no_grad():
        found, expected = made.eval()([IMAGE])[0], detector([IMAGE])[0]
    assert len(expected["boxes"])
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_anchors_of_a_cast_model_are_not_rounded(dtype: torch.dtype) -> None:
    """bfloat16 is exact up to 256 only, and images have more pixels."""
    anchors = Anchors([[37.0, 300.0]])
    (expected,) = anchors([torch.zeros(1, 1, 40, 50)], (1280, 1600))
    (found,) = anchors.to(dtype)([torch.zeros(1, 1, 40, 50, dtype=dtype)], (1280, 1600))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert found.max() > 1600


@pytest.mark.parametrize("assigned", [True, False])
def test_a_model_made_on_the_meta_device_gets_everything_from_its_weights(*, assigned: bool) -> None:
    detector = _detector()
    with torch.device("meta"):
        made = SETTINGS.build()
    if not assigned:
        made = made.to_empty(device="cpu")
    made.load_state_dict(detector.state_dict(), assign=assigned)
    _assert_same(made, detector)


@pytest.fixture
def double_by_default() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.usefixtures("double_by_default")
def test_the_default_dtype_does_not_matter() -> None:
    detector = _detector().float()
    image = IMAGE.float()
    with torch.no_grad():
        found = detector([image])[0]
    torch.set_default_dtype(torch.float32)
    with torch.no_grad():
        expected = detector([image])[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
