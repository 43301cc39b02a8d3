"""ONNX models as backbones, run by onnxruntime."""

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
    black_image,
    chosen_normalisation,
    file_hash,
    probed,
    refuse,
)
from .fixed_sizes import size_of_input
from .onnx_files import external_files
from .tokens import tokens_of_backbone

#: The default shorter side of images for models with a dynamic size, and the multiple of both sides.
DEFAULT_SIZE, MULTIPLE = 224, 32
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxBackbone(Backbone):
    """The outputs ``[N, C, H, W]`` of an ONNX model, or its tokens ``[N, L, C]`` viewed as maps.

    The model must have one float input ``[N, 3, H, W]``. If its height and width are fixed, images are stretched to
    them. If one of both is fixed, `options` has the size. If its batch size is fixed, batches are divided. Outputs of
    other ranks, and those that are no tensors, are ignored. Tokens are used if `prefix_tokens` and `patch_size` are
    given.

    Parameters
    ----------
    model : bytes or Path
        The model or the path of its file.
    options : BackboneOptions
        The options of the backbone.
    name : str
        The name of the backbone for messages.
    facts : dict, optional
        Values that identify the model, for the fingerprint. By default, the hash of its file.
    default_size : int, default 224
        The shorter side of images, if the model has a dynamic size.
    normalisation : str, default "imagenet"
        The normalisation, unless `options` has another.
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
        if not _is_image(inputs):
            found = ", ".join(f"{one.name} {one.shape} of {one.type}" for one in inputs)
            raise BackboneError.of(
                "a model with one input [N, 3, H, W] of floats, with the channels before the height",
                f"{found or 'no input'} of {name!r}",
            )
        self._input = inputs[0].name
        self._dtype = np.float16 if inputs[0].type == "tensor(float16)" else np.float32
        batch, _, height, width = inputs[0].shape
        self._batch = batch if isinstance(batch, int) else None
        own = (height if isinstance(height, int) else None, width if isinstance(width, int) else None)
        self.image_size = size_of_input(options, name, own, default_size, MULTIPLE)
        self.normalisation = chosen_normalisation(self._options, normalisation)
        self._outputs = self._find_maps()

    def _find_maps(self) -> list[str]:
        """Return the names of the outputs that are maps, finest first, and set the strides and channels."""
        height, width = size = self.image_size.of(DEFAULT_SIZE, DEFAULT_SIZE)
        every = {output.name: output.type for output in self._session.get_outputs()}
        names = [name for name, kind in every.items() if kind.startswith("tensor(")]  # not a sequence of tensors
        try:
            outputs = self._run(black_image(size), names) if names else []
        except Exception as error:  # onnxruntime raises its own kinds of errors
            raise BackboneError.of(f"a model for {height} x {width} pixels", repr(self.name), error) from error
        tokens = self._options.prefix_tokens is not None
        ranks = (3, 4) if tokens else (4,)
        found = [(name, output) for name, output in zip(names, outputs, strict=True) if output.ndim in ranks]
        if not found:
            of_tensors = {name: str(list(output.shape)) for name, output in zip(names, outputs, strict=True)}
            shapes = ", ".join(f"{name} {of_tensors.get(name, kind)}" for name, kind in every.items())
            more = "" if tokens else "; tokens [N, L, C] need --prefix-tokens and --patch-size"
            raise BackboneError.of("a model with an output [N, C, H, W]", f"{shapes} from {self.name!r}{more}")
        maps = [(name, self._as_map(output, (height, width))) for name, output in found]
        maps.sort(key=lambda pair: -pair[1].shape[2])
        ordered = [name for name, _ in maps]
        self.strides, self.channels = probed(
            [features for _, features in maps], (height, width), self.name, outputs=ordered
        )
        return ordered[: len(self.strides)]

    def maps(self, images: Array, levels: Sequence[int]) -> list[Map]:
        self.warn_of_range(images)
        outputs = self._run(images, [self._outputs[level] for level in levels])
        return [self._as_map(output, (images.shape[1], images.shape[2])) for output in outputs]

    def _run(self, images: Array, names: Sequence[str]) -> list[Array]:
        import onnxruntime

        run_options = onnxruntime.RunOptions()
        run_options.only_execute_path_to_fetches = True
        step = self._batch or len(images)
        outputs = []
        for first in range(0, len(images), step):
            piece = self.normalisation(images[first : first + step]).astype(self._dtype, copy=False)
            missing = step - len(piece)  # a fixed batch is filled up
            filled = np.concatenate([piece, np.repeat(piece[-1:], missing, axis=0)]) if missing else piece
            output = self._session.run(names, {self._input: filled}, run_options)
            outputs.append([values[: len(piece)] if values.ndim else values for values in output])
        return [pieces[0] if len(pieces) == 1 else np.concatenate(pieces) for pieces in zip(*outputs, strict=True)]

    def _as_map(self, output: Array, size: tuple[int, int]) -> Array:
        if output.ndim == 4:
            return output
        return tokens_of_backbone(output, size, self._options.prefix_tokens, self._options.patch_size, self.name)

    def facts(self) -> dict[str, object]:
        import onnxruntime

        return {**self._facts, "onnxruntime": onnxruntime.__version__, "outputs": self._outputs}


def _is_image(inputs: Sequence[Any]) -> bool:
    """Whether the only input of a model is a batch of images."""
    if len(inputs) != 1 or inputs[0].type not in ("tensor(float)", "tensor(float16)"):
        return False
    shape = inputs[0].shape
    return len(shape) == 4 and (shape[1] == 3 or (not isinstance(shape[1], int) and shape[3] != 3))


def _session(model: bytes | Path, options: BackboneOptions, name: str) -> Any:
    require("features", "onnxruntime")
    import onnxruntime

    kind = options.device.partition(":")[0]
    provider = PROVIDERS.get(kind)
    if provider not in onnxruntime.get_available_providers():
        usable = ", ".join(one for one, needed in PROVIDERS.items() if needed in onnxruntime.get_available_providers())
        raise BackboneError(
            f"device: expected {usable} for this onnxruntime, got {options.device!r}; for cuda, install onnxruntime-gpu"
        )
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.use_deterministic_compute = True
    settings.log_severity_level = 3  # errors only, because they are raised
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leave the cores to the readers
    if isinstance(model, Path):
        check_readable(model)
    index = options.device.partition(":")[2] or "0"
    chosen = [(provider, {"device_id": index})] if kind == "cuda" else [provider]
    try:
        source = str(model) if isinstance(model, Path) else model
        return onnxruntime.InferenceSession(source, settings, providers=chosen)
    except Exception as error:  # onnxruntime raises its own kinds of errors
        raise BackboneError.of("an ONNX model", repr(name), error) from error


def _file_hash(model: bytes | Path) -> str:
    """Return the hash of the model and of the files that hold its weights."""
    if isinstance(model, bytes):
        raise TypeError("facts: expected a dict, because the model is given as bytes")
    check_readable(model)
    usual = Path(f"{model}.data")  # first, as in the fingerprints of earlier versions, which read no other
    beside = [usual] if usual.exists() else []
    return file_hash(model, *beside, *(path for path in external_files(model) if path not in beside))
