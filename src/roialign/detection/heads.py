"""The networks after the pooler, for box scores, box offsets and masks."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from .box_kinds import UPRIGHT, BoxKind

#: Pixels with at least this probability belong to an object.
MASK_THRESHOLD = 0.5


def check_pooled(pooled: object, channels: int, size: int | None = None) -> None:
    """Check that a pooler, which may be the user's own, has returned ``[K, channels, size, size]``.

    Raises
    ------
    TypeError, ValueError
        If it has not.
    """
    if not isinstance(pooled, Tensor):
        raise TypeError(f"pooler: expected it to return a tensor, got {type(pooled).__name__}")
    sides = tuple(pooled.shape[2:])
    if pooled.ndim != 4 or pooled.shape[1] != channels or (size is not None and sides != (size, size)):
        expected = f"[RoIs, {channels}, {size or 'height'}, {size or 'width'}]"
        raise ValueError(f"pooler: expected it to return {expected}, got {tuple(pooled.shape)}")


class BoxHead(nn.Module):
    """Two fully connected layers."""

    def __init__(self, channels: int, pooled_size: int, hidden: int) -> None:
        super().__init__()
        self.channels, self.pooled_size = channels, pooled_size
        self.fc6 = nn.Linear(channels * pooled_size**2, hidden)
        self.fc7 = nn.Linear(hidden, hidden)

    def forward(self, pooled: Tensor) -> Tensor:
        check_pooled(pooled, self.channels, self.pooled_size)
        return functional.relu(self.fc7(functional.relu(self.fc6(pooled.flatten(1)))))


class BoxPredictor(nn.Module):
    """Class scores ``[K, classes]`` and box offsets ``[K, D, numbers]``.

    D is the number of classes, or 1 if all classes share the offsets.
    """

    def __init__(self, hidden: int, num_classes: int, *, shared_offsets: bool, numbers: int = 4) -> None:
        super().__init__()
        self.numbers = numbers
        self.cls_score = nn.Linear(hidden, num_classes)
        self.bbox_pred = nn.Linear(hidden, numbers if shared_offsets else numbers * num_classes)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        # Use float32 even under mixed precision, for the losses and coordinates.
        scores, offsets = self.cls_score(hidden), self.bbox_pred(hidden)
        return scores.float(), offsets.float().unflatten(1, (-1, self.numbers))


class BoxStage(nn.Module):
    """One stage of box classification and regression. A cascade has several.

    `shared_offsets` makes all classes share one set of offsets. The weights of the offsets are multiplied by `factor`.
    A box is an object if its overlap with the ground truth is at least `object_from`.
    """

    def __init__(
        self,
        head: BoxHead,
        hidden: int,
        num_classes: int,
        *,
        kind: BoxKind = UPRIGHT,
        shared_offsets: bool = False,
        factor: float = 1.0,
        object_from: float = 0.5,
    ) -> None:
        super().__init__()
        self.coder = kind.stage_coder(factor)
        self.box_head = head
        self.box_predictor = BoxPredictor(
            hidden, num_classes, shared_offsets=shared_offsets, numbers=self.coder.numbers
        )
        self.object_from = object_from

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        scores, offsets = self.box_predictor(self.box_head(pooled))
        return scores, offsets


class MaskBranch(nn.Module):
    """The mask head: four convolutions, then one mask per class at twice the pooled size."""

    def __init__(self, channels: int, hidden: int, num_classes: int) -> None:
        super().__init__()
        self.channels = channels
        self.mask_head = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(channels if i == 0 else hidden, hidden, 3, padding=1), nn.ReLU())
                for i in range(4)
            )
        )
        self.mask_predictor = nn.Sequential()
        self.mask_predictor.add_module("conv5_mask", nn.ConvTranspose2d(hidden, hidden, 2, 2))
        self.mask_predictor.add_module("relu", nn.ReLU())
        self.mask_predictor.add_module("mask_fcn_logits", nn.Conv2d(hidden, num_classes, 1))
        for name, parameter in self.named_parameters():
            if "weight" in name:
                nn.init.kaiming_normal_(parameter, mode="fan_out", nonlinearity="relu")

    def forward(self, pooled: Tensor) -> Tensor:
        check_pooled(pooled, self.channels)
        logits: Tensor = self.mask_predictor(self.mask_head(pooled))
        return logits.float()
