"""Faster, Mask, Cascade and Oriented R-CNN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import Tensor, nn

from .._validate import check_instance, check_int
from .backbone import PyramidBackbone, SingleBackbone
from .box_kinds import ROTATED, UPRIGHT, Size
from .checkpoints import rename_weights
from .heads import BoxHead, BoxStage, MaskBranch
from .model_inputs import (
    check_anchor_sizes,
    check_backbone,
    check_generators,
    check_images,
    check_targets,
    maps_of,
    warn_of_range,
)
from .poolers import PoolerFactory, make_pooler
from .roi_heads import RoIHeads, RoISettings, Target
from .rpn import Anchors, ProposalSettings, RegionProposals
from .timm_backbone import TimmBackbone
from .transform import Transform

Backbone = PyramidBackbone | SingleBackbone | TimmBackbone

#: The sizes of the pooled maps.
BOX_BINS, MASK_BINS = 7, 14
#: For each stage of the cascade: the factor of the offset weights, and the minimum overlap of an object.
CASCADE = ((1.0, 0.5), (2.0, 0.6), (3.0, 0.7))


class TwoStageDetector(nn.Module):
    """A backbone, a region proposal network and RoI heads. A call returns losses in training mode, else detections."""

    has_warned: bool = False
    """Whether there was a warning about the values of images. It is issued only once."""

    def __init__(self, transform: Transform, backbone: Backbone, rpn: RegionProposals, roi_heads: RoIHeads) -> None:
        super().__init__()
        self.transform = transform
        self.backbone = backbone
        self.rpn = rpn
        self.roi_heads = roi_heads
        self.register_load_state_dict_pre_hook(rename_weights)  # type: ignore[no-untyped-call]

    def forward(
        self,
        images: Sequence[Tensor],
        targets: Sequence[Target] | None = None,
        generators: Sequence[torch.Generator | None] = (),
    ) -> Any:
        """Return the losses by name in training mode, else the detections of each image.

        The detections of an image are a dict of `boxes` (x1, y1, x2, y2), `scores`, `labels` and, if the model has
        masks, `masks`. If the model finds rotated boxes, they are `rotated_boxes` (centre x, centre y, width, height,
        angle), and `boxes` are their upright hulls. The angle is in radians, clockwise, from -pi/2 to pi/2, and the
        width is the longer side.

        Parameters
        ----------
        images : list of float tensors ``[3, H, W]``
            The images, with values from 0 to 1. Values far from these give a :class:`roialign.RoIWarning` on a CPU.
        targets : list of dict, in training mode only
            For each image, `boxes` ``[L, 4]`` (x1, y1, x2, y2), `labels` ``[L]`` from 1 and, if the model has masks,
            `masks` ``[L, H, W]``. A model of rotated boxes takes `rotated_boxes` ``[L, 5]`` in place of `boxes`, with
            any angles. Boxes may have any real dtype.
        generators : list of torch.Generator, one per image, optional
            The generators that sample the boxes of each image in training mode. By default, torch's own generator.
        """
        images = check_images(images, self.rpn.head.cls_logits.weight)
        self.warn_of_range({f"images[{index}]": image for index, image in enumerate(images)})
        batch, sizes = self.transform.batch(images)
        maps = maps_of(self.backbone, batch)
        old_sizes = [(image.shape[-2], image.shape[-1]) for image in images]
        batch_size = (batch.shape[-2], batch.shape[-1])
        if self.training:
            kind = self.roi_heads.kind
            checked = check_targets(targets, images, self.roi_heads)
            check_generators(generators, len(images))
            moved = [
                self.transform.target(target, old, new)
                for target, old, new in zip(checked, old_sizes, sizes, strict=True)
            ]
            proposals, losses = self.rpn(maps, batch_size, sizes, [target[kind.key] for target in moved], generators)
            return losses | self.roi_heads.losses(
                maps[: self.backbone.pooled_levels], sizes, proposals, moved, generators
            )
        return [
            self.transform.restore(of_image, old, new)
            for of_image, old, new in zip(self.detect(maps, batch_size, sizes), old_sizes, sizes, strict=True)
        ]

    def warn_of_range(self, images: Mapping[str, Tensor]) -> None:
        """Warn once about images, by their names in messages, whose values are far from 0 to 1."""
        if not (torch.compiler.is_compiling() or self.has_warned):
            self.has_warned = any(warn_of_range(image, name) for name, image in images.items())

    def detect(
        self, maps: Sequence[Tensor], batch_size: Size, sizes: Sequence[Size], *, masks: bool = True
    ) -> list[dict[str, Tensor]]:
        """Return the detections on the feature maps of a batch, in pixels of the batch.

        Parameters
        ----------
        maps : sequence of Tensor
            All feature maps of the backbone.
        batch_size : (height, width)
            The size of the padded images.
        sizes : list of (height, width)
            The size of each image in the batch, without padding.
        masks : bool, default True
            Whether to predict masks within the boxes, if the detector has masks.
        """
        proposals, _ = self.rpn(maps, batch_size, sizes)
        return self.roi_heads.detect(maps[: self.backbone.pooled_levels], sizes, proposals, masks=masks)

    if TYPE_CHECKING:  # for type checkers, a call with targets is in training mode

        @overload
        def __call__(self, images: Sequence[Tensor], targets: None = None) -> list[dict[str, Tensor]]: ...
        @overload
        def __call__(
            self,
            images: Sequence[Tensor],
            targets: Sequence[Target],
            generators: Sequence[torch.Generator | None] = (),
        ) -> dict[str, Tensor]: ...
        def __call__(self, *arguments: Any, **more: Any) -> Any: ...


def faster_rcnn(num_classes: int, **options: Any) -> TwoStageDetector:
    """Faster R-CNN, which finds boxes.

    Parameters
    ----------
    num_classes : int
        The number of classes, including the background, which has label 0.
    **options
        Other arguments of :func:`build_detector`.

    Returns
    -------
    TwoStageDetector
        The detector, with new weights, in training mode.

    Raises
    ------
    TypeError, ValueError
        As for :func:`build_detector`.

    Examples
    --------
    >>> import torch
    >>> from roialign.detection import PyramidBackbone, faster_rcnn
    >>> model = faster_rcnn(3, backbone=PyramidBackbone(18, width=8, out_channels=16), min_size=64, hidden=32)
    >>> sorted(model.eval()([torch.rand(3, 64, 80)])[0])
    ['boxes', 'labels', 'scores']

    References
    ----------
    Ren et al., "Faster R-CNN", NeurIPS 2015, https://arxiv.org/abs/1506.01497
    """
    return build_detector(num_classes, **options)


def mask_rcnn(num_classes: int, **options: Any) -> TwoStageDetector:
    """Mask R-CNN, which finds boxes and masks.

    Parameters
    ----------
    num_classes : int
        The number of classes, including the background, which has label 0.
    **options
        Other arguments of :func:`build_detector`.

    Returns
    -------
    TwoStageDetector
        The detector, with new weights, in training mode.

    Raises
    ------
    TypeError, ValueError
        As for :func:`build_detector`.

    Examples
    --------
    >>> import torch
    >>> from roialign.detection import PyramidBackbone, mask_rcnn
    >>> backbone = PyramidBackbone(18, width=8, out_channels=16)
    >>> model = mask_rcnn(3, backbone=backbone, min_size=64, hidden=32, mask_hidden=8)
    >>> sorted(model.eval()([torch.rand(3, 64, 80)])[0])
    ['boxes', 'labels', 'masks', 'scores']

    References
    ----------
    He, Gkioxari, Dollar, Girshick, "Mask R-CNN", ICCV 2017, https://arxiv.org/abs/1703.06870
    """
    return build_detector(num_classes, masks=True, **options)


def cascade_rcnn(num_classes: int, *, masks: bool = False, **options: Any) -> TwoStageDetector:
    """Cascade R-CNN, whose three box stages refine the boxes of the stage before.

    Parameters
    ----------
    num_classes : int
        The number of classes, including the background, which has label 0.
    masks : bool, default False
        Whether to predict masks.
    **options
        Other arguments of :func:`build_detector`.

    Returns
    -------
    TwoStageDetector
        The detector, with new weights, in training mode.

    Raises
    ------
    TypeError, ValueError
        As for :func:`build_detector`.

    Examples
    --------
    >>> import torch
    >>> from roialign.detection import PyramidBackbone, cascade_rcnn
    >>> model = cascade_rcnn(3, backbone=PyramidBackbone(18, width=8, out_channels=16), min_size=64, hidden=32)
    >>> sorted(model.eval()([torch.rand(3, 64, 80)])[0])
    ['boxes', 'labels', 'scores']

    References
    ----------
    Cai and Vasconcelos, "Cascade R-CNN", CVPR 2018, https://arxiv.org/abs/1712.00726
    """
    return build_detector(num_classes, cascade=True, masks=masks, **options)


def oriented_rcnn(num_classes: int, *, cascade: bool = False, **options: Any) -> TwoStageDetector:
    """Oriented R-CNN, which finds rotated boxes. The arguments are those of :func:`build_detector`.

    The region proposal network predicts rotated proposals from upright anchors by six numbers: offsets of the upright
    hull, and of its top and right corner along their sides. The head pools the rotated proposals by
    :func:`roialign.multiscale_roi_align_rotated`, and predicts five offsets for all classes together.

    Parameters
    ----------
    num_classes : int
        The number of classes, including the background.
    pooler : str or function, default "rotated"
        A pooler of rotated boxes, or any other pooler, which then pools the upright hulls of the proposals.
    cascade : bool, default False
        Whether to use three box stages.
    **options
        Other arguments of :func:`build_detector`.

    Returns
    -------
    TwoStageDetector
        The detector, with new weights, in training mode.

    Raises
    ------
    TypeError, ValueError
        As for :func:`build_detector`.

    Examples
    --------
    >>> import torch
    >>> from roialign.detection import PyramidBackbone, oriented_rcnn
    >>> model = oriented_rcnn(3, backbone=PyramidBackbone(18, width=8, out_channels=16), min_size=64, hidden=32)
    >>> found = model.eval()([torch.rand(3, 64, 80)])[0]
    >>> sorted(found), found["rotated_boxes"].shape[1]
    (['boxes', 'labels', 'rotated_boxes', 'scores'], 5)

    References
    ----------
    Xie et al., "Oriented R-CNN for Object Detection", ICCV 2021, https://arxiv.org/abs/2108.05699
    """
    return build_detector(num_classes, rotated=True, cascade=cascade, **options)


def build_detector(
    num_classes: int,
    *,
    backbone: Backbone | None = None,
    pooler: str | PoolerFactory | None = None,
    cascade: bool = False,
    masks: bool = False,
    rotated: bool = False,
    min_size: int = 800,
    max_size: int = 1333,
    anchor_sizes: Sequence[Sequence[float]] | None = None,
    hidden: int = 1024,
    mask_hidden: int = 256,
    proposal_settings: ProposalSettings | None = None,
    roi_settings: RoISettings | None = None,
) -> TwoStageDetector:
    """Build a two-stage detector.

    Parameters
    ----------
    num_classes : int
        The number of classes, including the background, which has label 0.
    backbone : PyramidBackbone, SingleBackbone or TimmBackbone, default ResNet-50 with a feature pyramid
        The network that computes the feature maps. A module of your own can be used too. It takes the batch and returns
        a sequence or a dict of maps, finest first, or a single map. Its attributes are `strides`, one per map;
        `out_channels`, the number of channels of every map; and `pooled_levels`, the number of maps that RoIs are
        pooled from.
    pooler : str or function, default "exact", or "rotated" for rotated boxes
        A name in :data:`POOLERS`, optionally with arguments (``"align:sampling_ratio=4"``), or a function that takes
        the output size and the scales and returns a module. The module is called with the maps and the boxes of each
        image, which are rotated if `rotated` is True. See :func:`make_pooler`.
    cascade, masks : bool
        Whether to use three box stages, and whether to predict masks.
    rotated : bool, default False
        Whether to find rotated boxes, as in :func:`oriented_rcnn`. Such a detector has no masks.
    min_size, max_size : int
        Images are resized so that the shorter side has `min_size` pixels, and the longer at most `max_size`.
    anchor_sizes : sequence of sequences, optional
        The anchor sizes of each map in pixels. The default is 8 times the stride, or five sizes if there is one map.
    hidden, mask_hidden : int
        The number of channels of the box and mask heads.
    proposal_settings, roi_settings : ProposalSettings and RoISettings, optional
        The settings of the region proposal network and of the heads. The defaults for rotated boxes are those of
        mmrotate's Oriented R-CNN: NMS thresholds of 0.8 and 0.1, 2000 proposals, and 2000 detections.

    Returns
    -------
    TwoStageDetector
        The detector, with new weights, in training mode.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or if arguments do not fit together.

    Examples
    --------
    >>> import torch
    >>> from roialign.detection import PyramidBackbone, faster_rcnn
    >>> model = faster_rcnn(3, backbone=PyramidBackbone(18, width=8, out_channels=16), min_size=64, hidden=32)
    >>> sorted(model.eval()([torch.rand(3, 64, 80)])[0])
    ['boxes', 'labels', 'scores']
    """
    num_classes = check_int(num_classes, "num_classes", 2)  # the background and one more
    if masks and rotated:
        raise ValueError("masks: expected False for a detector of rotated boxes, got True")
    hidden, mask_hidden = check_int(hidden, "hidden", 1), check_int(mask_hidden, "mask_hidden", 1)
    transform = Transform(min_size, max_size)
    kind = ROTATED if rotated else UPRIGHT
    backbone = PyramidBackbone() if backbone is None else backbone
    check_backbone(backbone)
    strides = backbone.strides
    if anchor_sizes is None:
        anchor_sizes = [[8 * stride] for stride in strides] if len(strides) > 1 else [[32, 64, 128, 256, 512]]
    anchor_sizes = check_anchor_sizes(anchor_sizes)
    if len(anchor_sizes) != len(strides):
        raise ValueError(f"anchor_sizes: expected {len(strides)}, one per map, got {len(anchor_sizes)}")
    proposal_settings = ProposalSettings(**kind.proposals) if proposal_settings is None else proposal_settings
    roi_settings = RoISettings(**kind.regions) if roi_settings is None else roi_settings
    check_instance(proposal_settings, "proposal_settings", ProposalSettings)
    check_instance(roi_settings, "roi_settings", RoISettings)
    channels = backbone.out_channels
    pooler = kind.pooler if pooler is None else pooler
    pooled_strides = strides[: backbone.pooled_levels]
    stages = [
        BoxStage(
            BoxHead(channels, BOX_BINS, hidden),
            hidden,
            num_classes,
            kind=kind,
            shared_offsets=cascade or kind.shared_offsets,
            factor=factor,
            object_from=object_from,
        )
        for factor, object_from in (CASCADE if cascade else CASCADE[:1])
    ]
    return TwoStageDetector(
        transform,
        backbone,
        RegionProposals(channels, Anchors(anchor_sizes), proposal_settings, kind),
        RoIHeads(
            make_pooler(pooler, BOX_BINS, pooled_strides, channels, rotated=rotated),
            stages,
            roi_settings,
            make_pooler(pooler, MASK_BINS, pooled_strides, channels) if masks else None,
            MaskBranch(channels, mask_hidden, num_classes) if masks else None,
            kind,
        ),
    )
