"""
The compiled core: the families of operators on strided memory. Private; see roialign.numpy.cpu.
"""

from collections.abc import Sequence
import enum
from typing import Annotated, overload

import numpy
from numpy.typing import NDArray


class Rule(enum.Enum):
    grid = 0

    random = 1

    exact = 2

    prroi = 3

    crop = 4

    nearest = 5

class ScalarType(enum.Enum):
    float64 = 0

    float32 = 1

    float16 = 2

    bfloat16 = 3

class SeparableSpec:
    def __init__(self, rule: Rule, sampling_ratio: Sequence[int], offset: float, minimum_length: float, normalised_boxes: bool, fill: float, seed: int) -> None: ...

class Team:
    def __init__(self, threads: int, openmp: int) -> None: ...

def forward(spec: SeparableSpec, scalar_type: ScalarType, features: Sequence[object], scales: Sequence[float], rois: Annotated[NDArray[numpy.float64], dict(shape=(None, 5), order='C', device='cpu', writable=False)], levels: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], tangents: Sequence[Annotated[NDArray[numpy.float64], dict(shape=(None, 4), order='C', device='cpu', writable=False)]], out: object, team: Team | None = None) -> int: ...

def adjoint_features(spec: SeparableSpec, scalar_type: ScalarType, grad_output: object, scales: Sequence[float], rois: Annotated[NDArray[numpy.float64], dict(shape=(None, 5), order='C', device='cpu', writable=False)], levels: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], tangents: Sequence[Annotated[NDArray[numpy.float64], dict(shape=(None, 4), order='C', device='cpu', writable=False)]], grad_features: Sequence[object], team: Team | None = None) -> None: ...

def adjoint_boxes(spec: SeparableSpec, scalar_type: ScalarType, grad_output: object, features: Sequence[object], scales: Sequence[float], rois: Annotated[NDArray[numpy.float64], dict(shape=(None, 5), order='C', device='cpu', writable=False)], levels: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], tangents: Sequence[Annotated[NDArray[numpy.float64], dict(shape=(None, 4), order='C', device='cpu', writable=False)]], grad_boxes: Annotated[NDArray[numpy.float64], dict(shape=(None, 4), order='C', device='cpu')], team: Team | None = None) -> None: ...

def taps(rule: Rule, start: float, length: float, sampling_ratio: int, seed: int, axis: int, row: int, order_start: int, order_length: int, matrix: Annotated[NDArray[numpy.float64], dict(shape=(None, None), order='C', device='cpu')]) -> None: ...

class Levels:
    def __init__(self, scales: Sequence[float], smallest_areas: Sequence[float]) -> None: ...

@overload
def suspicions(spec: SeparableSpec, rois: Annotated[NDArray[numpy.float64], dict(shape=(None, None), order='C', device='cpu', writable=False)], levels: Levels, level_of_roi: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], sizes: Sequence[Sequence[int]]) -> int: ...

@overload
def suspicions(spec: PointwiseSpec, rois: Annotated[NDArray[numpy.float64], dict(shape=(None, None), order='C', device='cpu', writable=False)], levels: Levels, level_of_roi: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], sizes: Sequence[Sequence[int]]) -> int: ...

@overload
def plain_forward(spec: SeparableSpec, features: tuple[object, ...], rois: object, levels: Levels, channels_last: bool, out: object) -> bool: ...

@overload
def plain_forward(spec: PointwiseSpec, features: tuple[object, ...], rois: object, levels: Levels, channels_last: bool, out: object) -> bool: ...

@overload
def plain_tensor_forward(torch: tuple[object, ...], spec: SeparableSpec, features: tuple[object, ...], rois: object, levels: Levels, bins: Sequence[int], channels_last: bool, out: object | None, records: bool) -> object: ...

@overload
def plain_tensor_forward(torch: tuple[object, ...], spec: PointwiseSpec, features: tuple[object, ...], rois: object, levels: Levels, bins: Sequence[int], channels_last: bool, out: object | None, records: bool) -> object: ...

@overload
def plain_tensor_adjoint_features(torch: tuple[object, ...], spec: SeparableSpec, grad_output: object, deciding: tuple[object, ...], rois: object, levels: Levels, sizes: Sequence[Sequence[int]], channels_last: bool) -> object: ...

@overload
def plain_tensor_adjoint_features(torch: tuple[object, ...], spec: PointwiseSpec, grad_output: object, deciding: tuple[object, ...], rois: object, levels: Levels, sizes: Sequence[Sequence[int]], channels_last: bool) -> object: ...

class Remembered:
    def __init__(self, function: object, fixed: tuple[object, ...]) -> None: ...

    def __call__(self, settings: tuple[object, ...]) -> object: ...

class Mapping(enum.Enum):
    box = 0

    rotated = 1

    rounded = 2

    inclusive = 3

class PointRule(enum.Enum):
    grid = 0

    random = 1

    lattice = 2

    pixels = 3

class Reduction(enum.Enum):
    mean = 0

    max = 1

    corner_max = 2

class Channels(enum.Enum):
    same = 0

    position = 1

    orientation = 2

class PointwiseSpec:
    def __init__(self, mapping: Mapping, rule: PointRule, reduction: Reduction, channels: Channels, sampling_ratio: Sequence[int], offset: float, minimum_length: float, seed: int, jitters_points: bool, clockwise: bool, orientations: int, gamma: float, extra_pixels: float, unused_border: int) -> None: ...

def pointwise_forward(spec: PointwiseSpec, scalar_type: ScalarType, features: Sequence[object], scales: Sequence[float], images: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], geometry: tuple[Annotated[NDArray[numpy.float64], dict(shape=(None, None), order='C', device='cpu', writable=False)], Annotated[NDArray[numpy.float64], dict(order='C', device='cpu', writable=False)] | None, Annotated[NDArray[numpy.float64], dict(order='C', device='cpu', writable=False)] | None], levels: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], out: object, tangent: tuple[Annotated[NDArray[numpy.float64], dict(shape=(None, None), order='C', device='cpu', writable=False)], Annotated[NDArray[numpy.float64], dict(order='C', device='cpu', writable=False)] | None, Annotated[NDArray[numpy.float64], dict(order='C', device='cpu', writable=False)] | None] | None = None, deciding: Sequence[object] = [], team: Team | None = None) -> int: ...

def pointwise_adjoint_features(spec: PointwiseSpec, scalar_type: ScalarType, grad_output: object, deciding: Sequence[object], scales: Sequence[float], images: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], geometry: tuple[Annotated[NDArray[numpy.float64], dict(shape=(None, None), order='C', device='cpu', writable=False)], Annotated[NDArray[numpy.float64], dict(order='C', device='cpu', writable=False)] | None, Annotated[NDArray[numpy.float64], dict(order='C', device='cpu', writable=False)] | None], levels: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], grad_features: Sequence[object], tangent: tuple[Annotated[NDArray[numpy.float64], dict(shape=(None, None), order='C', device='cpu', writable=False)], Annotated[NDArray[numpy.float64], dict(order='C', device='cpu', writable=False)] | None, Annotated[NDArray[numpy.float64], dict(order='C', device='cpu', writable=False)] | None] | None = None, team: Team | None = None) -> None: ...

def pointwise_adjoint_geometry(spec: PointwiseSpec, scalar_type: ScalarType, grad_output: object, features: Sequence[object], scales: Sequence[float], images: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], geometry: tuple[Annotated[NDArray[numpy.float64], dict(shape=(None, None), order='C', device='cpu', writable=False)], Annotated[NDArray[numpy.float64], dict(order='C', device='cpu', writable=False)] | None, Annotated[NDArray[numpy.float64], dict(order='C', device='cpu', writable=False)] | None], levels: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], grad_geometry: tuple[Annotated[NDArray[numpy.float64], dict(shape=(None, None), order='C', device='cpu')], Annotated[NDArray[numpy.float64], dict(order='C', device='cpu')] | None, Annotated[NDArray[numpy.float64], dict(order='C', device='cpu')] | None], deciding: Sequence[object], team: Team | None = None) -> None: ...

@overload
def rotated_iou(boxes: Annotated[NDArray[numpy.float64], dict(shape=(None, 5), order='C', device='cpu', writable=False)], others: Annotated[NDArray[numpy.float64], dict(shape=(None, 5), order='C', device='cpu', writable=False)], paired: bool, out: Annotated[NDArray[numpy.float64], dict(order='C', device='cpu')], team: Team | None = None) -> None: ...

@overload
def rotated_iou(boxes: Annotated[NDArray[numpy.float64], dict(shape=(None, 5), order='C', device='cpu', writable=False)], others: Annotated[NDArray[numpy.float64], dict(shape=(None, 5), order='C', device='cpu', writable=False)], paired: bool, out: Annotated[NDArray[numpy.float32], dict(order='C', device='cpu')], team: Team | None = None) -> None: ...

@overload
def rotated_iou_gradient(boxes: Annotated[NDArray[numpy.float64], dict(shape=(None, 5), order='C', device='cpu', writable=False)], others: Annotated[NDArray[numpy.float64], dict(shape=(None, 5), order='C', device='cpu', writable=False)], paired: bool, grad_output: Annotated[NDArray[numpy.float64], dict(order='C', device='cpu', writable=False)], grad_boxes: Annotated[NDArray[numpy.float64], dict(shape=(None, 5), order='C', device='cpu')], grad_others: Annotated[NDArray[numpy.float64], dict(shape=(None, 5), order='C', device='cpu')], team: Team | None = None) -> None: ...

@overload
def rotated_iou_gradient(boxes: Annotated[NDArray[numpy.float64], dict(shape=(None, 5), order='C', device='cpu', writable=False)], others: Annotated[NDArray[numpy.float64], dict(shape=(None, 5), order='C', device='cpu', writable=False)], paired: bool, grad_output: Annotated[NDArray[numpy.float32], dict(order='C', device='cpu', writable=False)], grad_boxes: Annotated[NDArray[numpy.float64], dict(shape=(None, 5), order='C', device='cpu')], grad_others: Annotated[NDArray[numpy.float64], dict(shape=(None, 5), order='C', device='cpu')], team: Team | None = None) -> None: ...

def rotated_nms(boxes: Annotated[NDArray[numpy.float64], dict(shape=(None, 5), order='C', device='cpu', writable=False)], scores: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu', writable=False)], groups: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], threshold: float, team: Team | None = None) -> list[int]: ...

def xla_handlers() -> dict[str, object]: ...

def get_num_threads() -> int: ...

def set_num_threads(count: int) -> None: ...

def last_worker_count() -> int: ...

def isa() -> str: ...

def isa_built() -> list[str]: ...

def isa_supported() -> list[str]: ...

def compiler() -> str: ...
