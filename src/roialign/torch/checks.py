"""Validation of tensors. These checks do not read values, so they also work while tracing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .._validate import check_places

FLOAT_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
INTEGER_DTYPES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def no_tensor(value: object, name: str, first: str | None = None) -> TypeError:
    """The error about a value that is no tensor. `first` names another argument that is one."""
    kind = type(value)
    like = "" if first in (None, name) else f", like {first}"
    return TypeError(f"{name}: expected a torch.Tensor{like}, got {kind.__module__}.{kind.__qualname__}")


def check_array(value: object, name: str, first: str | None = "features") -> Tensor:
    """Return the value if it is a strided tensor, else raise an error. `first` names the argument that is one."""
    if not isinstance(value, Tensor):
        raise no_tensor(value, name, first)
    if isinstance(value, torch.masked.MaskedTensor):
        raise TypeError(
            f"{name}: expected a dense tensor, got a masked one, whose mask would be ignored; "
            f"fill it with {name}.to_tensor(0)"
        )
    if value.is_nested:
        raise TypeError(
            f"{name}: expected a dense tensor, got a nested one; make it dense with "
            f"torch.nested.to_padded_tensor({name}, 0)"
        )
    if value.layout != torch.strided:
        raise TypeError(f"{name}: expected a dense tensor, got layout {value.layout}")
    return value


def is_dense(tensor: Tensor) -> bool:
    """Whether a tensor has a shape and strides."""
    return tensor.layout == torch.strided and not tensor.is_nested


def check_device(tensor: Tensor, device: torch.device, name: str, first: str = "features") -> None:
    if tensor.device != device:
        raise ValueError(f"{name}: expected the device of {first}, {device}, got {tensor.device}")


def check_features(features: object, layout: str, name: str) -> Tensor:
    """Return a view of `features` as ``[N, C, H, W]``."""
    tensor = check_array(features, name)
    shape = tensor.shape
    if len(shape) != 4:
        raise ValueError(f"{name}: expected 4 dimensions {'[' + ', '.join(layout) + ']'}, got shape {tuple(shape)}")
    if tensor.dtype not in FLOAT_DTYPES:
        how = f"; use {name}.dequantize()" if tensor.is_quantized else ""
        raise TypeError(f"{name}: expected dtype {_names(FLOAT_DTYPES)}, got {tensor.dtype}{how}")
    view = nchw(tensor, layout)
    if view.shape[2] == 0 or view.shape[3] == 0:
        raise ValueError(f"{name}: expected a map of at least 1 x 1 pixels, got shape {tuple(shape)} ({layout})")
    return view


def float_image(image: Tensor) -> Tensor:
    """Return the image, converted to float32 if it has integers."""
    is_integer = not (image.is_floating_point() or image.is_complex() or image.is_quantized)
    return image.float() if is_integer and image.dtype != torch.bool else image


def check_levels_alike(features: Sequence[Tensor]) -> None:
    """Check that all levels of a pyramid have the same images, channels, dtype and device."""
    first = features[0]
    for index, level in enumerate(features[1:], start=1):
        name = f"features[{index}]"
        check_device(level, first.device, name)
        if level.shape[0] != first.shape[0] or level.shape[1] != first.shape[1]:
            raise ValueError(
                f"{name}: expected the images and channels of features[0], "
                f"{first.shape[0]} and {first.shape[1]}, got {level.shape[0]} and {level.shape[1]}"
            )
        if level.dtype != first.dtype:
            raise TypeError(f"{name}: expected the dtype of features[0], {first.dtype}, got {level.dtype}")


def check_boxes(boxes: Tensor, columns: int, name: str, count: str = "K") -> None:
    check_format(boxes, name)
    if len(boxes.shape) != 2 or boxes.shape[1] != columns:
        raise ValueError(f"{name}: expected shape [{count}, {columns}], got {tuple(boxes.shape)}")
    check_real(boxes, name)


def check_format(boxes: Tensor, name: str) -> None:
    """Check that boxes that state their format, as those of torchvision do, are corners."""
    if type(boxes) is Tensor:
        return
    stated = getattr(boxes, "format", None)
    kind = getattr(stated, "name", stated)
    if kind not in (None, "XYXY"):
        raise ValueError(
            f"{name}: expected boxes (x1, y1, x2, y2), which torchvision calls XYXY, or plain tensors; got boxes that "
            f"state the format {kind}; convert them with torchvision.transforms.v2.ConvertBoundingBoxFormat"
        )


def check_real(tensor: Tensor, name: str) -> None:
    if tensor.dtype not in FLOAT_DTYPES and tensor.dtype not in INTEGER_DTYPES:
        how = f"; use {name}.dequantize()" if tensor.is_quantized else ""
        raise TypeError(f"{name}: expected a real dtype (float or integer), got {tensor.dtype}{how}")


def check_indices(values: object, count: int, name: str, owner: str, first: str = "features") -> Tensor:
    """Check that there is one integer per row. `first` names an argument that is a tensor."""
    tensor = check_array(values, name, first)
    if len(tensor.shape) != 1 or tensor.shape[0] != count:
        raise ValueError(f"{name}: expected shape [{count}], one per row of {owner}, got {tuple(tensor.shape)}")
    if tensor.dtype not in INTEGER_DTYPES:
        raise TypeError(f"{name}: expected an integer dtype, got {tensor.dtype}")
    return tensor


def check_per_bin(values: object, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Check a tensor with one or two real numbers per bin. Returns one row per RoI."""
    tensor = check_array(values, name)
    check_device(tensor, like.device, name)
    check_real(tensor, name)
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name}: expected shape {list(shape)}, got {list(tensor.shape)}")
    return tensor.flatten(1)


def check_grad_output(
    grad_output: object, features: Tensor, count: int, layout: str, channels_of: Callable[[tuple[int, int]], int]
) -> Tensor:
    """Return a view of the output gradient as ``[K, C, PH, PW]``. `channels_of` gives C for the number of bins."""
    gradient = check_array(grad_output, "grad_output")
    check_device(gradient, features.device, "grad_output")
    axes = "[K, C, PH, PW]" if layout == "NCHW" else "[K, PH, PW, C]"
    shape = tuple(gradient.shape)
    if len(shape) != 4:
        raise ValueError(f"grad_output: expected 4 dimensions {axes}, got shape {shape}")
    view = nchw(gradient, layout)
    k, c, bins_y, bins_x = view.shape
    channels = channels_of((bins_y, bins_x))
    if k != count or c != channels or bins_y == 0 or bins_x == 0:
        expected = [count, channels, "PH", "PW"]
        expected = expected if layout == "NCHW" else [expected[0], *expected[2:], expected[1]]
        raise ValueError(f"grad_output: expected shape {expected}, got {shape}")
    if gradient.dtype != features.dtype:
        raise TypeError(f"grad_output: expected the dtype of features, {features.dtype}, got {gradient.dtype}")
    return view


def check_out(out: object, shape: tuple[int, ...], inputs: Sequence[Tensor]) -> Tensor:
    """Check a buffer for the result."""
    tensor = check_array(out, "out")
    like = inputs[0]
    check_device(tensor, like.device, "out")
    if tuple(tensor.shape) != shape:
        raise ValueError(f"out: expected shape {shape}, got {tuple(tensor.shape)}")
    if tensor.dtype != like.dtype:
        raise TypeError(f"out: expected dtype {like.dtype}, got {tensor.dtype}")
    check_places(tensor.shape, tensor.stride(), 1, "out")
    is_compiled = torch.compiler.is_compiling()  # torch cannot trace the question
    if not is_compiled and tensor.is_inference() and not torch.is_inference_mode_enabled():
        raise ValueError("out: expected a tensor made outside of inference mode, got one made in it")
    if torch.is_grad_enabled() and (tensor.requires_grad or any(given.requires_grad for given in inputs)):
        raise ValueError(
            "out: expected None if a gradient is needed, because writing into a tensor cannot be differentiated; "
            "got a tensor"
        )
    if not torch.compiler.is_compiling() and any(
        map(torch._C._functorch.is_functorch_wrapped_tensor, (tensor, *inputs))
    ):
        raise ValueError("out: expected None within torch.vmap and the transforms of torch.func, got a tensor")
    return tensor


def check_memory_apart(out: Tensor, inputs: Sequence[Tensor]) -> None:
    """Check that the result does not overlap its inputs in memory."""
    begin, end = _extent(out)
    for given in inputs:
        first, last = _extent(given)
        if begin < last and first < end:
            raise ValueError("out: expected memory that no input uses, got memory shared with an input")


def nchw(tensor: Tensor, layout: str) -> Tensor:
    """Return a view of a four-dimensional tensor as NCHW."""
    return tensor if layout == "NCHW" else tensor.permute(0, 3, 1, 2)


def gradient_dtype(tensor: Tensor) -> torch.dtype:
    """The dtype of the gradient of a tensor: float64 for integers."""
    return tensor.dtype if tensor.is_floating_point() else torch.float64


def own_layout(tensor: Tensor, layout: str) -> Tensor:
    """Return a view of an NCHW tensor in the given layout."""
    return tensor if layout == "NCHW" else tensor.permute(0, 2, 3, 1)


def _extent(tensor: Tensor) -> tuple[int, int]:
    if tensor.numel() == 0:
        return 0, 0
    begin = tensor.data_ptr()
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return begin, begin + (last + 1) * tensor.element_size()


def _names(dtypes: Sequence[Any]) -> str:
    return ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
