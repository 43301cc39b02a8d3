"""Where a way to record ends, with which error, and what to do: the cells of the table that are not answers."""

from __future__ import annotations

from dataclasses import dataclass

from torch._subclasses.fake_tensor import DynamicOutputShapeException

from tests.torch.recording.models import NAMES

Cell = tuple[str, str]


@dataclass(frozen=True)
class Limit:
    """An error that some models meet in some ways."""

    ways: tuple[str, ...]
    models: tuple[Cell, ...]
    error: type[BaseException]
    text: str
    """In its message."""
    advice: str


#: What ONNX's RoiAlign and MaxRoiPool compute: all that the exporter that traces can write.
IN_ONNX: set[Cell] = {
    ("roialign", "roi_align"),
    ("roialign", "roi_align, adaptive"),
    ("roialign", "roi_align, boxes per image"),
    ("roialign", "multiscale_roi_align"),
    ("roialign", "roi_pool"),
    ("roialign.torch", "RoIAlign"),
    ("roialign.torch", "MultiScaleRoIAlign"),
    ("roialign.torch", "RoIPool"),
    ("roialign.compat.torchvision", "roi_align"),
    ("roialign.compat.torchvision", "roi_pool"),
    ("roialign.compat.torchvision", "RoIAlign"),
    ("roialign.compat.torchvision", "RoIPool"),
    ("roialign.compat.torchvision", "MultiScaleRoIAlign"),
    ("roialign.compat.detectron2", "ROIAlign"),
    ("roialign.compat.detectron2", "ROIPooler, ROIAlign"),
    ("roialign.compat.detectron2", "ROIPooler, ROIAlignV2"),
    ("roialign.compat.mmcv", "roi_align"),
    ("roialign.compat.mmcv", "RoIAlign"),
    ("roialign.compat.mmcv", "SimpleRoIAlign"),
    ("roialign.compat.mmcv", "SingleRoIExtractor"),
    ("roialign.compat.mmcv", "GenericRoIExtractor"),
    ("roialign.compat.onnx", "RoiAlign"),
}
RANDOM: Cell = ("roialign", "roi_align, random")
#: Layers that an extractor calls level by level, each with the RoIs that belong there.
BY_LEVEL: tuple[Cell, ...] = (
    ("roialign.compat.mmcv", "SingleRoIExtractor, PrRoIPool"),
    ("roialign.compat.mmcv", "SingleRoIExtractor, DeformRoIPoolPack"),
)

LIMITS = [
    Limit(
        ("ONNX, dynamo=False",),
        tuple(cell for cell in NAMES if cell not in IN_ONNX and cell != RANDOM),
        NotImplementedError,
        "this operator cannot be exported, because it is not equal to ONNX's RoiAlign or MaxRoiPool",
        "`NotImplementedError`: this exporter cannot write a loop over RoIs, so it only supports what ONNX's "
        "RoiAlign or MaxRoiPool computes. Use `dynamo=True`.",
    ),
    Limit(
        ("ONNX", "ONNX, dynamo=False"),
        (RANDOM,),
        ValueError,
        "sampling: expected 'grid' or 'exact' in an ONNX export, got 'random'",
        '`ValueError`: an exported graph cannot draw random points. Use `"grid"` or `"exact"` for inference.',
    ),
    Limit(
        ("meta tensors",),
        BY_LEVEL,
        NotImplementedError,
        "nonzero",
        "`NotImplementedError` of torch: an extractor calls layers other than `RoIAlign` level by level, and the "
        "number of RoIs of a level depends on values. Use fake tensors.",
    ),
    Limit(
        ("torch.vmap",),
        BY_LEVEL,
        RuntimeError,
        "nonzero",
        "`RuntimeError` of torch, for the same reason. Use `RoIAlign` as the layer, or call the model for "
        "each member of the batch.",
    ),
    Limit(
        ("CUDA graphs",),
        BY_LEVEL,
        DynamicOutputShapeException,
        "nonzero",
        "An error of torch while the graph is recorded, for the same reason. Use `RoIAlign` as the layer.",
    ),
]


def limit_of(way: str, cell: Cell) -> int | None:
    """The number of the limit that a cell of the table meets."""
    for number, limit in enumerate(LIMITS):
        if way in limit.ways and cell in limit.models:
            return number
    return None
