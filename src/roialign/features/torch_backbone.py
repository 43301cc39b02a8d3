"""PyTorch networks as backbones, on any device and in any precision."""

from __future__ import annotations

import hashlib
import logging
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export.passes import move_to_device_pass

from .._typing import Array
from ..files.archives import check_archive
from ..files.kinds import check_readable
from ..torch.devices import check_device
from .backbone import (
    NO_TOKENS,
    Backbone,
    BackboneError,
    BackboneOptions,
    Detections,
    ImageSize,
    Map,
    Normalisation,
    black_image,
    chosen_normalisation,
    chosen_size,
    file_hash,
    probed,
    refuse,
)
from .fixed_sizes import size_of_input
from .tokens import tokens_of_backbone
from .torch_state import reproducible

#: What the archive of a program has, in the formats of PyTorch, which logs a long trace for other archives.
PROGRAM_FILES = ("archive_format", "serialized_exported_program.json")
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
DEFAULT_SIZE, MULTIPLE = 224, 32


class TorchBackbone(Backbone):
    """Base class of PyTorch backbones. Subclasses override :meth:`network`.

    Parameters
    ----------
    module : torch.nn.Module
        The network, in evaluation mode.
    options : BackboneOptions
        The options. A precision below float32 uses `torch.autocast`.
    image_size, normalisation
        As in :class:`Backbone`.
    name : str
        The name of the backbone for messages.
    facts : dict
        Values that identify the network, for the fingerprint.
    strides : sequence of int, optional
        The stride of each map, if the model states it. By default, strides follow from the sizes of the maps.
    """

    def __init__(
        self,
        module: nn.Module,
        options: BackboneOptions,
        image_size: ImageSize,
        normalisation: Normalisation,
        *,
        name: str,
        facts: dict[str, object],
        strides: Sequence[int] | None = None,
    ) -> None:
        self.name, self._options, self._facts = name, options, facts
        self.image_size, self.normalisation = image_size, normalisation
        self._device = check_device(options.device)
        self._memory_format = torch.channels_last if options.channels_last else torch.contiguous_format
        self.module = module.to(self._device, memory_format=self._memory_format)  # type: ignore[call-overload]
        self.strides_are_stated = strides is not None
        self.strides, self.channels = self._probe(strides)

    def network(self, images: Tensor) -> Sequence[Tensor]:
        """Compute the maps ``[N, C, H, W]`` of normalised images ``[N, 3, H, W]``, finest first."""
        maps: Sequence[Tensor] = self.module(images)
        return maps

    def maps(self, images: Array, levels: Sequence[int]) -> list[Map]:
        every = self._run(images)
        return [every[level] for level in levels]

    def _run(self, images: Array) -> Sequence[Tensor]:
        with self._running():
            return self.network(self._batch(images))

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Disable gradients, and set the precision and what else the features depend on."""
        dtype = DTYPES[self._options.precision]
        reduced = dtype != torch.float32
        kind = self._device.type
        autocast = torch.autocast(kind, dtype if reduced else torch.bfloat16, enabled=reduced)
        with reproducible(self._options.threads), torch.inference_mode(), autocast:
            yield

    def for_pooling(self) -> AbstractContextManager[None]:
        return reproducible(self._options.threads)

    def _batch(self, images: Array) -> Tensor:
        """Move uint8 images ``[N, H, W, 3]`` to the device, and normalise them. Returns ``[N, 3, H, W]``."""
        self.warn_of_range(images)
        whole = torch.from_numpy(np.require(images, requirements=("C", "W")))
        pixels = whole.to(self._device).permute(0, 3, 1, 2).float()
        mean, deviation = (
            pixels.new_tensor(values)[:, None, None]
            for values in (self.normalisation.mean, self.normalisation.deviation)
        )
        return ((pixels - mean) / deviation).contiguous(memory_format=self._memory_format)

    def _probe(self, stated: Sequence[int] | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
        size = self.image_size.of(DEFAULT_SIZE, DEFAULT_SIZE)
        try:
            maps = self._run(black_image(size))
        except BackboneError:
            raise
        except Exception as error:  # a model raises many kinds of errors
            raise BackboneError.of(f"a model for {size[0]} x {size[1]} pixels", repr(self.name), error) from error
        return probed(maps, size, self.name, stated)

    def facts(self) -> dict[str, object]:
        on_gpu = {"gpu": torch.cuda.get_device_name(self._device)} if self._device.type == "cuda" else {}
        isa = torch.backends.cpu.get_cpu_capability()
        return {**self._facts, "torch": torch.__version__, "torch_cpu": isa, **on_gpu}


class ProgramBackbone(TorchBackbone):
    """The outputs ``[N, C, H, W]`` or tokens ``[N, L, C]`` of a program saved by `torch.export.save`.

    If the program has a fixed height and width, images are resized to them. If its batch size is fixed, batches are
    divided, and the last one is filled up.
    """

    def __init__(self, path: Path, options: BackboneOptions) -> None:
        name = f"program:{path}"
        refuse(options, name, weights=None)
        program = _load_program(path, name)
        device = check_device(options.device)
        if device.type != "cpu":  # its own constants, too, are on the device where it was exported
            program = move_to_device_pass(program, device)
        shape, self._dtype = _input_of(program, name)
        self._batch_size = shape[0]
        size = size_of_input(options, name, (shape[2], shape[3]), DEFAULT_SIZE, MULTIPLE)
        normalisation = chosen_normalisation(options, "imagenet")
        facts: dict[str, object] = {"file": file_hash(path)}
        super().__init__(program.module(), options, size, normalisation, name=name, facts=facts)

    def network(self, images: Tensor) -> Sequence[Tensor]:
        images = images.to(self._dtype)
        if self._batch_size is None:
            return self._maps_of(images)
        every = []
        for piece in torch.split(images, self._batch_size):
            filling = piece[-1:].expand(self._batch_size - len(piece), -1, -1, -1)
            every.append([features[: len(piece)] for features in self._maps_of(torch.cat([piece, filling]))])
        return [torch.cat(level) for level in zip(*every, strict=True)]

    def _maps_of(self, images: Tensor) -> list[Tensor]:
        outputs = list(_tensors(self.module(images)))
        size = (images.shape[2], images.shape[3])
        return maps_of_outputs(outputs, size, self._options, self.name)


class DetectorBackbone(TorchBackbone):
    """The backbone of a detector of :mod:`roialign.detection`, with its feature pyramid.

    The maps are those from which the detector pools its boxes. :meth:`detect` also returns its detections.
    """

    default_levels = "by-size"

    def __init__(self, path: Path, options: BackboneOptions) -> None:
        from ..detection.model_files import find_weights, load_model
        from ..detection.transform import DIVISOR

        name = f"detector:{path}"
        refuse(options, name, weights=None, **NO_TOKENS)
        model, settings = load_model(path)
        self._detector, self._classes = model.eval(), settings.classes
        self.most_detections = model.roi_heads.settings.detections
        if model.backbone.pooled_levels == 1:
            self.default_levels = "last"
        size = chosen_size(options, model.transform.min_size, DIVISOR)
        if options.image_size is None:  # the detector sees objects as large as when it was trained
            size = replace(size, longer=model.transform.max_size)
        facts: dict[str, object] = {"file": file_hash(find_weights(path)), "backbone": settings.backbone}
        normalisation = chosen_normalisation(options, "imagenet")
        super().__init__(model, options, size, normalisation, name=name, facts=facts)

    def network(self, images: Tensor) -> Sequence[Tensor]:
        maps: Sequence[Tensor] = self._detector.backbone(images)
        return maps[: self._detector.backbone.pooled_levels]

    def detect(
        self, images: Array, levels: Sequence[int], score_threshold: float
    ) -> tuple[list[Map], list[Detections]]:
        from ..detection.boxes import clip_boxes

        with self._running():
            batch = self._batch(images)
            maps = self._detector.backbone(batch)
            size = (batch.shape[2], batch.shape[3])
            found = self._detector.detect(maps, size, [size] * len(batch), masks=False)
            for one in found:  # the hulls of rotated boxes may extend beyond the image, where no features are
                one["boxes"] = clip_boxes(one["boxes"], size)
        return [maps[level] for level in levels], [self._kept(of_image, score_threshold) for of_image in found]

    def _kept(self, found: dict[str, Tensor], score_threshold: float) -> Detections:
        kept = found["scores"] >= score_threshold
        boxes, scores, labels = (found[name][kept].cpu() for name in ("boxes", "scores", "labels"))
        names = [self._classes[label - 1] for label in labels.tolist()]
        return Detections(boxes.double().numpy(), scores.float().numpy(), names)


def maps_of_outputs(
    outputs: Iterable[Tensor], size: tuple[int, int], options: BackboneOptions, name: str
) -> list[Tensor]:
    """Return the outputs of a network that are maps, finest first. With `prefix_tokens`, tokens are viewed as maps."""
    prefix, patch = options.prefix_tokens, options.patch_size
    maps = []
    shapes = []
    for output in outputs:
        shapes.append(list(output.shape))
        if output.ndim == 4:
            maps.append(output)
        elif output.ndim == 3 and prefix is not None and patch is not None:
            maps.append(tokens_of_backbone(output, size, prefix, patch, name))
    if not maps:
        more = "; tokens [N, L, C] need --prefix-tokens and --patch-size" if prefix is None or patch is None else ""
        raise BackboneError.of("a model with an output [N, C, H, W]", f"{shapes} from {name!r}{more}")
    return sorted(maps, key=lambda features: -features.shape[2])


def state_hash(module: nn.Module) -> str:
    """Return the SHA-256 of the names and values of the weights. It does not depend on their file."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _load_program(path: Path, name: str) -> Any:
    """Load a program saved by `torch.export.save`. For files that are not archives, PyTorch prints a long message."""
    check_readable(path)
    why: object = "it is not an archive"
    if zipfile.is_zipfile(path):
        try:
            check_archive(path)
            with zipfile.ZipFile(path) as archive:
                if not any(name.endswith(PROGRAM_FILES) for name in archive.namelist()):
                    raise ValueError("an archive of something else, such as weights or TorchScript")
            program = _loaded(path)
        except Exception as error:  # damaged files raise many kinds of errors in PyTorch
            why = error
        else:
            _refuse_detector(program, name)
            _refuse_training(program, name)
            return program
    raise BackboneError.of("a program saved by torch.export.save", repr(name), why)


def _loaded(path: Path) -> Any:
    """Load a program without PyTorch's warnings and log. The reason of an error is in the log only."""
    from ..detection import exporting  # noqa: F401 - registers the operators and the results of detectors

    reasons: list[BaseException] = []

    def keep_reason(record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None:
            reasons.append(record.exc_info[1])
        return False

    logger = logging.getLogger("torch.export")
    logger.addFilter(keep_reason)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch warns about its own code
            return torch.export.load(path)
    except RuntimeError as error:
        reason = reasons[0] if reasons else error
        while reason.__cause__ is not None:
            reason = reason.__cause__
        raise reason from None
    finally:
        logger.removeFilter(keep_reason)


def _refuse_detector(program: Any, name: str) -> None:
    from ..detection.exporting import Detections as Exported

    if program.call_spec.out_spec.context is Exported:
        expected = "a program of a backbone"
        raise BackboneError.of(expected, f"{name!r}, a whole detector; use detector:WEIGHTS with its weights")


def _refuse_training(program: Any, name: str) -> None:
    """Refuse programs whose features are random, or depend on the other images of a batch."""
    for node in program.graph.nodes:
        arguments = getattr(getattr(node.target, "_schema", None), "arguments", ())
        given = {argument.name: value for argument, value in zip(arguments, node.args, strict=False)} | node.kwargs
        normalises, drops = given.get("running_mean") is not None, bool(given.get("p"))
        if (given.get("training") or given.get("train")) and (normalises or drops):
            found = f"{name!r}, in which {node.target} is in training mode; call eval() before torch.export.export"
            raise BackboneError.of("a program of a network in evaluation mode", found)


def _input_of(program: Any, name: str) -> tuple[list[int | None], torch.dtype]:
    """Return the shape of the only input of a program, with None for dynamic sizes, and its dtype."""
    wanted = program.graph_signature.user_inputs
    inputs = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in wanted]
    shapes = [value.shape for value in inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][1] not in (3, None):
        found = [[side if isinstance(side, int) else str(side) for side in shape] for shape in shapes]
        raise BackboneError.of("a program with one input [N, 3, H, W]", f"{found or 'none'} in {name!r}")
    return [side if isinstance(side, int) else None for side in shapes[0]], inputs[0].dtype


def _tensors(output: object) -> Iterable[Tensor]:
    """Return the tensors in an output of any structure."""
    leaves, _ = torch.utils._pytree.tree_flatten(output)
    return (leaf for leaf in leaves if isinstance(leaf, Tensor))
