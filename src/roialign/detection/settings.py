"""The settings of a detector, stored in a weight file next to the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import Any, TypeVar

from torch import nn

from .._validate import check_bool, check_int, check_number_in, set_checked
from .backbone import FrozenBatchNorm2d, Norm, PyramidBackbone, SingleBackbone
from .box_kinds import ROTATED, UPRIGHT, BoxKind
from .model_inputs import check_anchor_sizes
from .models import Backbone, TwoStageDetector, build_detector
from .poolers import read_pooler
from .roi_heads import RoISettings
from .rpn import ProposalSettings
from .timm_backbone import TimmBackbone

_Part = TypeVar("_Part", ProposalSettings, RoISettings)

#: The models by name, as options of :func:`build_detector`.
MODELS: dict[str, dict[str, bool]] = {
    "faster-rcnn": {},
    "mask-rcnn": {"masks": True},
    "cascade-rcnn": {"cascade": True},
    "cascade-mask-rcnn": {"cascade": True, "masks": True},
    "oriented-rcnn": {"rotated": True},
}
#: The default models, for masks and for rotated boxes.
MASK_MODEL, ROTATED_MODEL = "mask-rcnn", "oriented-rcnn"
#: Backbones with a single map: the level of the ResNet, and its stride.
SINGLE_MAPS = {"c4": (4, 16), "c5": (5, 32), "c5-dilated": (5, 16)}
DEPTHS = {"resnet18": 18, "resnet50": 50}
BACKBONES = tuple(f"{depth}-{maps}" for depth in DEPTHS for maps in ("fpn", *SINGLE_MAPS))
#: The prefix of the name of a timm model.
TIMM = "timm:"


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """The arguments of :func:`build_detector`, as values that can be stored in a file.

    Concretely, ``DetectorSettings.of(settings.to_dict())`` is ``settings``.

    Raises
    ------
    TypeError, ValueError
        If a value has another type, is unknown or is out of range. The message names it.
    """

    model: str = MASK_MODEL
    """A name in `MODELS`."""
    backbone: str = "resnet50-fpn"
    """A name in `BACKBONES`, or ``"timm:"`` followed by the name of a timm model."""
    pooler: str = ""
    """The pooler, as for :func:`make_pooler`. By default "exact", or "rotated" for rotated boxes."""
    classes: tuple[str, ...] = ()
    """The names of the labels, from label 1."""
    category_ids: tuple[int, ...] = ()
    """The category ids of the labels in the dataset, by default 1, 2, ..."""
    width: int = 64
    """The number of channels of the first map of a ResNet."""
    out_channels: int = 256
    """The number of channels of the maps of a feature pyramid."""
    hidden: int = 1024
    """The number of channels of the box head."""
    mask_hidden: int = 256
    """The number of channels of the mask head."""
    min_size: int = 800
    """Images are resized so that the shorter side has this many pixels."""
    max_size: int = 1333
    """The longer side of a resized image has at most this many pixels."""
    anchor_sizes: tuple[tuple[float, ...], ...] | None = None
    """The sizes of the anchors on each map in pixels. By default those of :func:`build_detector`."""
    frozen_norm: bool = False
    """Whether batch normalisation is frozen."""
    norm_groups: int = 0
    """The number of groups of group normalisation, used instead of batch normalisation from scratch; 0 for none."""
    norm_epsilon: float = 1e-5
    """What normalisation adds to the variance before it divides."""
    proposals: dict[str, Any] = field(default_factory=dict)
    """The fields of :class:`ProposalSettings` that differ from the defaults of :func:`build_detector`."""
    regions: dict[str, Any] = field(default_factory=dict)
    """The fields of :class:`RoISettings` that differ from the defaults of :func:`build_detector`."""

    def __post_init__(self) -> None:
        self._check_types()
        if self.model not in MODELS:
            raise ValueError(f"model: expected one of {', '.join(MODELS)}, got {self.model!r}")
        if self.backbone not in BACKBONES and not self.backbone.startswith(TIMM):
            raise ValueError(f"backbone: expected one of {', '.join(BACKBONES)}, or timm:NAME, got {self.backbone!r}")
        if not self.pooler:
            object.__setattr__(self, "pooler", self.kind.pooler)
        read_pooler(self.pooler, rotated=self.has_rotated_boxes)
        if not self.classes:
            raise ValueError("classes: expected at least one name, got none")
        if not self.category_ids:
            object.__setattr__(self, "category_ids", tuple(range(1, len(self.classes) + 1)))
        if len(self.category_ids) != len(self.classes):
            raise ValueError(f"category_ids: expected {len(self.classes)}, one per class, got {len(self.category_ids)}")
        for name, checked in (("proposals", self._proposal_settings()), ("regions", self._roi_settings())):
            set_checked(self, **{name: {each: getattr(checked, each) for each in getattr(self, name)}})

    def _check_types(self) -> None:
        """Check the types, since values from a file can be anything."""
        for name in ("model", "backbone", "pooler"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name}: expected text, got {getattr(self, name)!r}")
        for name in ("width", "out_channels", "hidden", "mask_hidden", "min_size", "max_size"):
            set_checked(self, **{name: check_int(getattr(self, name), name, 1)})
        set_checked(
            self,
            norm_groups=check_int(self.norm_groups, "norm_groups", 0),
            norm_epsilon=check_number_in(self.norm_epsilon, "norm_epsilon", 0),
            frozen_norm=check_bool(self.frozen_norm, "frozen_norm"),
        )
        for name, kind, what in (("classes", str, "text"), ("category_ids", int, "whole numbers")):
            values = getattr(self, name)
            if not isinstance(values, (list, tuple)) or not all(isinstance(value, kind) for value in values):
                raise ValueError(f"{name}: expected a sequence of {what}, got {values!r}")
        if self.anchor_sizes is not None:
            set_checked(self, anchor_sizes=_frozen(check_anchor_sizes(self.anchor_sizes)))

    def _part(self, name: str, kind: type[_Part]) -> _Part:
        """Make the settings of the region proposal network or of the heads, from a field of that name."""
        given, known = getattr(self, name), [each.name for each in fields(kind)]
        if not isinstance(given, Mapping):
            raise ValueError(f"{name}: expected a dict, got {given!r}")
        for each in given:
            if each not in known:
                raise ValueError(f"{name}: expected names among {', '.join(known)}, got {each!r}")
        try:
            return kind(**{**getattr(self.kind, name), **given})
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name}: {error}") from error

    def _proposal_settings(self) -> ProposalSettings:
        return self._part("proposals", ProposalSettings)

    def _roi_settings(self) -> RoISettings:
        return self._part("regions", RoISettings)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> DetectorSettings:
        """Make settings from the result of :meth:`to_dict`. Lists may replace tuples.

        Raises
        ------
        TypeError, ValueError
            If a value is unknown or wrong. The message names it.
        """
        known = {each.name for each in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"settings: expected names among {', '.join(sorted(known))}, got {', '.join(unknown)}")
        return cls(**{name: _frozen(value) for name, value in values.items()})

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON and `torch.save` can store."""
        return asdict(self)

    @property
    def has_masks(self) -> bool:
        return MODELS[self.model].get("masks", False)

    @property
    def has_rotated_boxes(self) -> bool:
        return MODELS[self.model].get("rotated", False)

    @property
    def kind(self) -> BoxKind:
        """The kind of boxes that the detector finds."""
        return ROTATED if self.has_rotated_boxes else UPRIGHT

    def make_backbone(self, *, pretrained: bool = False) -> Backbone:
        """Make a new backbone. `pretrained` loads the pretrained weights of a timm model."""
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
        """Build a new detector with these settings."""
        return build_detector(
            len(self.classes) + 1,
            backbone=self.make_backbone(pretrained=pretrained),
            pooler=self.pooler,
            min_size=self.min_size,
            max_size=self.max_size,
            anchor_sizes=self.anchor_sizes,
            hidden=self.hidden,
            mask_hidden=self.mask_hidden,
            proposal_settings=self._proposal_settings(),
            roi_settings=self._roi_settings(),
            **MODELS[self.model],
        )


def model_for(model: str | None, *, rotated: bool) -> tuple[str, bool]:
    """Return the name of the model to train, and whether it is trained on data with rotated boxes.

    Raises
    ------
    ValueError
        If the model needs masks and the data have rotated boxes.
    """
    name = model or (ROTATED_MODEL if rotated else MASK_MODEL)
    if rotated and MODELS[name].get("masks"):
        fitting = [other for other, options in MODELS.items() if not options.get("masks")]
        raise ValueError(
            f"model: expected one of {', '.join(fitting)} for rotated boxes, which have no masks, got {name}"
        )
    return name, rotated or MODELS[name].get("rotated", False)


def _frozen(value: Any) -> Any:
    """Replace lists by tuples at any depth."""
    if isinstance(value, Mapping):
        return {name: _frozen(part) for name, part in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, (list, tuple)) else value
