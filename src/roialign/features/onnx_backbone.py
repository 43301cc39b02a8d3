"""An ONNX file as a backbone, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._extras import require
from .._typing import Array
from ..files.kinds import check_readable
from .backbone import (
    Backbone,
    BackboneError,
    BackboneOptions,
    Map,
    chosen_normalisation,
    chosen_size,
    file_hash,
    probed,
    refuse,
)
from .tokens import tokens_to_map

#: Of a file whose size is free: the shorter side, and what both sides are multiples of.
DEFAULT_SIZE, MULTIPLE = 224, 32
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxBackbone(Backbone):
    """The outputs ``[N, C, H, W]`` of an ONNX model, or its tokens ``[N, L, C]`` where their prefix and patch are told.

    The model has one input ``[N, 3, H, W]``, of floats. Where its sides are fixed, images are stretched to them; where
    the batch is, it goes through in as many pieces. Outputs of another rank are left out.

    Parameters
    ----------
    model : bytes or Path
        The model, or its file.
    name : str
        For messages.
    facts : dict, optional
        What says for the fingerprint which model it is; by default the hash of its file.
    multiple : int, default 32
        Sides of images are multiples of this, where the model leaves them free.
    """

    def __init__(
        self,
        model: bytes | Path,
        options: BackboneOptions,
        *,
        name: str,
        facts: dict[str, object] | None = None,
        default_size: int = DEFAULT_SIZE,
        normalisation: str = "imagenet",
    ) -> None:
        refuse(options, name, precision="float32", channels_last=False, weights=None)
        self.name, self._options = name, options
        self._facts = facts if facts is not None else {"file": _file_hash(model)}
        self._session = _session(model, options, name)
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in ("tensor(float)", "tensor(float16)"):
            found = ", ".join(f"{one.name} {one.shape} of {one.type}" for one in inputs)
            raise BackboneError(f"{name}: expected one input [N, 3, H, W] of floats, found {found or 'none'}")
        self._input = inputs[0].name
        self._dtype = np.float16 if inputs[0].type == "tensor(float16)" else np.float32
        batch, _, height, width = inputs[0].shape
        self._batch = batch if isinstance(batch, int) else None
        if isinstance(height, int) and isinstance(width, int):
            if options.image_size not in (None, (height, width)):
                raise ValueError(f"image-size: {name} takes {height}x{width} only, found {options.image_size}")
            options = BackboneOptions(image_size=(height, width))
            self.image_size = chosen_size(options, 0, 1)
        else:
            self.image_size = chosen_size(options, default_size, MULTIPLE)
        self.normalisation = chosen_normalisation(self._options, normalisation)
        self._outputs = self._find_maps()

    def _find_maps(self) -> list[str]:
        """The names of the outputs that are maps, the finest first; their strides and channels."""
        height, width = self.image_size.fixed or self.image_size.of(DEFAULT_SIZE, DEFAULT_SIZE)
        names = [output.name for output in self._session.get_outputs()]
        try:
            answers = self._run(np.zeros((1, height, width, 3), np.uint8), names)
        except Exception as error:
            raise BackboneError(f"{self.name}: cannot be run on {height} x {width} pixels: {error}") from error
        tokens = self._options.prefix_tokens is not None
        ranks = (3, 4) if tokens else (4,)
        found = [(name, answer) for name, answer in zip(names, answers, strict=True) if answer.ndim in ranks]
        if not found:
            shapes = ", ".join(f"{name} {list(answer.shape)}" for name, answer in zip(names, answers, strict=True))
            more = "" if tokens else "; tokens [N, L, C] need --prefix-tokens and --patch-size"
            raise BackboneError(f"{self.name}: expected an output [N, C, H, W], found {shapes}{more}")
        maps = [(name, self._as_map(answer, (height, width))) for name, answer in found]
        maps.sort(key=lambda pair: -pair[1].shape[2])
        self.strides, self.channels = probed([features for _, features in maps], (height, width), self.name)
        return [name for name, _ in maps]

    def maps(self, images: Array, levels: Sequence[int]) -> list[Map]:
        answers = self._run(images, [self._outputs[level] for level in levels])
        return [self._as_map(answer, (images.shape[1], images.shape[2])) for answer in answers]

    def _run(self, images: Array, names: Sequence[str]) -> list[Array]:
        import onnxruntime

        run_options = onnxruntime.RunOptions()
        run_options.only_execute_path_to_fetches = True
        step = self._batch or len(images)
        answers = []
        for first in range(0, len(images), step):
            piece = self.normalisation(images[first : first + step]).astype(self._dtype, copy=False)
            missing = step - len(piece)  # of a fixed batch, the rest is filled
            filled = np.concatenate([piece, np.repeat(piece[-1:], missing, axis=0)]) if missing else piece
            answer = self._session.run(names, {self._input: filled}, run_options)
            answers.append([values[: len(piece)] for values in answer])
        return [pieces[0] if len(pieces) == 1 else np.concatenate(pieces) for pieces in zip(*answers, strict=True)]

    def _as_map(self, answer: Array, size: tuple[int, int]) -> Array:
        if answer.ndim == 4:
            return answer
        patch, prefix = self._options.patch_size, self._options.prefix_tokens
        if patch is None or prefix is None:
            raise BackboneError(f"{self.name}: tokens [N, L, C] need --prefix-tokens and --patch-size")
        try:
            return tokens_to_map(answer, (size[0] // patch, size[1] // patch), prefix)
        except ValueError as error:
            raise BackboneError(f"{self.name}: {error}") from error

    def facts(self) -> dict[str, object]:
        import onnxruntime

        return {**self._facts, "onnxruntime": onnxruntime.__version__, "outputs": self._outputs}


def _session(model: bytes | Path, options: BackboneOptions, name: str) -> Any:
    require("features", "onnxruntime")
    import onnxruntime

    kind = options.device.partition(":")[0]
    provider = PROVIDERS.get(kind)
    if provider not in onnxruntime.get_available_providers():
        raise BackboneError(f"device: this onnxruntime cannot run on {options.device!r}; install onnxruntime-gpu")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.use_deterministic_compute = True
    settings.log_severity_level = 3  # errors: they are raised
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")  # readers need the cores
    if isinstance(model, Path):
        check_readable(model)
    index = options.device.partition(":")[2] or "0"
    chosen = [(provider, {"device_id": index})] if kind == "cuda" else [provider]
    try:
        source = str(model) if isinstance(model, Path) else model
        return onnxruntime.InferenceSession(source, settings, providers=chosen)
    except Exception as error:  # onnxruntime raises kinds of its own
        raise BackboneError(f"{name}: cannot be read as an ONNX model: {str(error).partition(chr(10))[0]}") from error


def _file_hash(model: bytes | Path) -> str:
    if isinstance(model, bytes):
        raise TypeError("facts: expected with a model of bytes")
    check_readable(model)
    beside = [path for path in (Path(f"{model}.data"),) if path.exists()]  # where large weights are kept
    return file_hash(model, *beside)
