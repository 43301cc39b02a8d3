"""A detector in words and numbers: what a file of weights says besides them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import Any

from torch import nn

from .backbone import FrozenBatchNorm2d, Norm, PyramidBackbone, SingleBackbone
from .models import Backbone, TwoStageDetector, build_detector
from .poolers import read_pooler
from .roi_heads import RoISettings
from .rpn import ProposalSettings
from .timm_backbone import TimmBackbone

#: Models by name, as options of :func:`build_detector`.
MODELS: dict[str, dict[str, bool]] = {
    "faster-rcnn": {},
    "mask-rcnn": {"masks": True},
    "cascade-rcnn": {"cascade": True},
    "cascade-mask-rcnn": {"cascade": True, "masks": True},
}
#: Single maps by name: the level of ResNet, and its stride.
SINGLE_MAPS = {"c4": (4, 16), "c5": (5, 32), "c5-dilated": (5, 16)}
DEPTHS = {"resnet18": 18, "resnet50": 50}
BACKBONES = tuple(f"{depth}-{maps}" for depth in DEPTHS for maps in ("fpn", *SINGLE_MAPS))
#: In front of the name of one of timm's models.
TIMM = "timm:"


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """What :func:`build_detector` needs to know, in values that a file can hold.

    Concretely, ``DetectorSettings.of(settings.to_dict())`` is ``settings``.
    """

    model: str = "mask-rcnn"
    """A name of `MODELS`."""
    backbone: str = "resnet50-fpn"
    """A name of `BACKBONES`, or ``"timm:"`` and the name of one of timm's models."""
    pooler: str = "exact"
    """As :func:`make_pooler` takes it."""
    classes: tuple[str, ...] = ()
    """Names of the labels from 1."""
    category_ids: tuple[int, ...] = ()
    """Their numbers in the data set; by default 1, 2, ..."""
    width: int = 64
    """Channels of a ResNet's first map."""
    out_channels: int = 256
    """Of a pyramid's maps."""
    hidden: int = 1024
    mask_hidden: int = 256
    min_size: int = 800
    max_size: int = 1333
    anchor_sizes: tuple[tuple[float, ...], ...] | None = None
    frozen_norm: bool = False
    """Whether batch normalisation stays as it was loaded."""
    norm_groups: int = 0
    """Of a group normalisation in place of batch normalisation, for a ResNet from scratch; 0 for none."""
    norm_epsilon: float = 1e-5
    proposals: dict[str, Any] = field(default_factory=dict)
    """What differs from :class:`ProposalSettings`."""
    regions: dict[str, Any] = field(default_factory=dict)
    """What differs from :class:`RoISettings`."""

    def __post_init__(self) -> None:
        self._check_types()
        if self.model not in MODELS:
            raise ValueError(f"model: expected one of {', '.join(MODELS)}, got {self.model!r}")
        if self.backbone not in BACKBONES and not self.backbone.startswith(TIMM):
            raise ValueError(f"backbone: expected one of {', '.join(BACKBONES)}, or timm:NAME, got {self.backbone!r}")
        read_pooler(self.pooler)
        if not self.classes:
            raise ValueError("classes: expected at least one name, got none")
        if not self.category_ids:
            object.__setattr__(self, "category_ids", tuple(range(1, len(self.classes) + 1)))
        if len(self.category_ids) != len(self.classes):
            raise ValueError(f"category_ids: expected {len(self.classes)}, one per class, got {len(self.category_ids)}")

    def _check_types(self) -> None:
        """What a file says may be anything."""
        for name in ("model", "backbone", "pooler"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name}: expected text, got {getattr(self, name)!r}")
        for name in ("width", "out_channels", "hidden", "mask_hidden", "min_size", "max_size", "norm_groups"):
            value, least = getattr(self, name), 0 if name == "norm_groups" else 1
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name}: expected a whole number of at least {least}, got {value!r}")
        for name, kind, what in (("classes", str, "text"), ("category_ids", int, "whole numbers")):
            values = getattr(self, name)
            if not isinstance(values, (list, tuple)) or not all(isinstance(value, kind) for value in values):
                raise ValueError(f"{name}: expected a sequence of {what}, got {values!r}")
        for name, defaults in (("proposals", ProposalSettings()), ("regions", RoISettings())):
            _check_numbers(name, getattr(self, name), asdict(defaults))
        sizes = self.anchor_sizes
        if sizes is not None and not (isinstance(sizes, (list, tuple)) and sizes and all(map(_are_sizes, sizes))):
            raise ValueError(f"anchor_sizes: expected sides in pixels for every map, got {sizes!r}")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> DetectorSettings:
        """From the values of :meth:`to_dict`; lists are as good as tuples.

        Raises
        ------
        ValueError
            Naming what is unknown or wrong.
        """
        known = {each.name for each in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"settings: expected names of {', '.join(sorted(known))}, got {', '.join(unknown)}")
        return cls(**{name: _frozen(value) for name, value in values.items()})

    def to_dict(self) -> dict[str, Any]:
        """As plain values, which JSON and `torch.save` can hold."""
        return asdict(self)

    @property
    def has_masks(self) -> bool:
        return MODELS[self.model].get("masks", False)

    def make_backbone(self, *, pretrained: bool = False) -> Backbone:
        """A new one; `pretrained` loads the weights that timm offers for its models."""
        if self.backbone.startswith(TIMM):
            return TimmBackbone(self.backbone.removeprefix(TIMM), out_channels=self.out_channels, pretrained=pretrained)
        norm: Norm = partial(FrozenBatchNorm2d if self.frozen_norm else nn.BatchNorm2d, eps=self.norm_epsilon)
        if self.norm_groups:
            norm = partial(nn.GroupNorm, self.norm_groups, eps=self.norm_epsilon)
        depth, _, maps = self.backbone.partition("-")
        if maps == "fpn":
            return PyramidBackbone(DEPTHS[depth], width=self.width, out_channels=self.out_channels, norm=norm)
        level, stride = SINGLE_MAPS[maps]
        return SingleBackbone(DEPTHS[depth], width=self.width, level=level, stride=stride, norm=norm)

    def build(self, *, pretrained: bool = False) -> TwoStageDetector:
        """A new detector."""
        return build_detector(
            len(self.classes) + 1,
            backbone=self.make_backbone(pretrained=pretrained),
            pooler=self.pooler,
            min_size=self.min_size,
            max_size=self.max_size,
            anchor_sizes=self.anchor_sizes,
            hidden=self.hidden,
            mask_hidden=self.mask_hidden,
            proposal_settings=ProposalSettings(**self.proposals),
            roi_settings=RoISettings(**self.regions),
            **MODELS[self.model],
        )


def _frozen(value: Any) -> Any:
    """With tuples for lists, at any depth."""
    if isinstance(value, Mapping):
        return {name: _frozen(part) for name, part in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, (list, tuple)) else value


def _check_numbers(name: str, values: object, defaults: Mapping[str, Any]) -> None:
    """That values have the names of the defaults, and are numbers where those are, and pairs where those are."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{name}: expected names and values, got {values!r}")
    for each, value in values.items():
        if each not in defaults:
            raise ValueError(f"{name}: expected names of {', '.join(defaults)}, got {each!r}")
        pair = isinstance(defaults[each], tuple)
        parts = value if pair and isinstance(value, (list, tuple)) else [value]
        if len(parts) != 1 + pair or not all(_is_number(part) and part >= 0 for part in parts):
            raise ValueError(f"{name}: {each}: expected {'two numbers' if pair else 'a number'}, got {value!r}")


def _are_sizes(sizes: object) -> bool:
    return isinstance(sizes, (list, tuple)) and bool(sizes) and all(_is_number(size) and size > 0 for size in sizes)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
