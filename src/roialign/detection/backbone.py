"""ResNet, with or without a feature pyramid. The weights have torchvision's names."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

#: The number of blocks per stage, and whether they are bottleneck blocks with three convolutions.
RESNETS = {18: ((2, 2, 2, 2), False), 50: ((3, 4, 6, 3), True)}


Norm = Callable[[int], nn.Module]


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation with fixed statistics and weights, also in training."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__(channels, eps)
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> FrozenBatchNorm2d:  # noqa: ARG002 - the interface of modules
        return super().train(False)

    def forward(self, features: Tensor) -> Tensor:
        # Not by functional.batch_norm, which refuses an eps of 0 in torch 2.11. torchvision's oldest weights have it.
        statistics = self.running_mean, self.running_var
        enabled = torch.backends.cudnn.enabled
        return torch.batch_norm(features, self.weight, self.bias, *statistics, False, 0.0, self.eps, enabled)


class Block(nn.Module):
    """A residual block of two or three convolutions."""

    def __init__(self, channels: int, width: int, stride: int, dilation: int, bottleneck: bool, norm: Norm) -> None:
        super().__init__()
        out = width * 4 if bottleneck else width
        kernels: tuple[int, ...]
        strides: tuple[int, ...]
        channels_of: tuple[int, ...]
        if bottleneck:
            kernels, strides = (1, 3, 1), (1, stride, 1)
            channels_of = (channels, width, width, out)
        else:
            kernels, strides = (3, 3), (stride, 1)
            channels_of = (channels, width, out)
        self.depth = len(kernels)
        for i, (kernel, step) in enumerate(zip(kernels, strides, strict=True)):
            spread = dilation if kernel == 3 else 1
            convolution = nn.Conv2d(
                channels_of[i], channels_of[i + 1], kernel, step, spread * (kernel // 2), spread, bias=False
            )
            self.add_module(f"conv{i + 1}", convolution)
            self.add_module(f"bn{i + 1}", norm(channels_of[i + 1]))
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), norm(out))

    def forward(self, features: Tensor) -> Tensor:
        shortcut = features if self.downsample is None else self.downsample(features)
        for i in range(1, self.depth + 1):
            features = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(features))
            if i < self.depth:
                features = functional.relu(features)
        return functional.relu(features + shortcut)


class ResNet(nn.Module):
    """ResNet-18 or ResNet-50 without its classifier. It maps images ``[N, 3, H, W]`` to the feature maps C2 to C5.

    The strides are 4, 8, 16 and 32. With ``last_stride=16``, C5 has the size of C4 and its convolutions are dilated.

    References
    ----------
    He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, https://arxiv.org/abs/1512.03385
    """

    def __init__(self, depth: int = 50, *, width: int = 64, last_stride: int = 32, norm: Norm = nn.BatchNorm2d) -> None:
        super().__init__()
        if depth not in RESNETS or last_stride not in (16, 32):
            raise ValueError(f"depth, last_stride: expected 18 or 50, and 16 or 32, got {depth} and {last_stride}")
        counts, bottleneck = RESNETS[depth]
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = norm(width)
        self.channels: list[int] = []
        channels = width
        for stage, count in enumerate(counts):
            dilated = stage == 3 and last_stride == 16
            stride = 1 if stage == 0 or dilated else 2
            blocks = []
            for i in range(count):
                # The first block is not dilated yet: it replaces the block with the stride.
                dilation = 2 if dilated and i > 0 else 1
                blocks.append(Block(channels, width << stage, stride if i == 0 else 1, dilation, bottleneck, norm))
                channels = (width << stage) * (4 if bottleneck else 1)
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            self.channels.append(channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> list[Tensor]:
        features = functional.max_pool2d(functional.relu(self.bn1(self.conv1(images))), 3, 2, 1)
        maps = []
        for stage in range(1, 5):
            features = getattr(self, f"layer{stage}")(features)
            maps.append(features)
        return maps


class FeaturePyramid(nn.Module):
    """A feature pyramid network: maps with the same number of channels, each combined with the coarser ones.

    References
    ----------
    Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017, https://arxiv.org/abs/1612.03144
    """

    def __init__(self, channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        self.inner_blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(count, out_channels, 1)) for count in channels)
        self.layer_blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(out_channels, out_channels, 3, padding=1)) for _ in channels
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        inner = self.inner_blocks[-1](maps[-1])
        out = [self.layer_blocks[-1](inner)]
        for i in range(len(maps) - 2, -1, -1):
            lateral = self.inner_blocks[i](maps[i])
            inner = lateral + functional.interpolate(inner, size=lateral.shape[-2:], mode="nearest")
            out.insert(0, self.layer_blocks[i](inner))
        return out


class PyramidBackbone(nn.Module):
    """ResNet with a feature pyramid. RoIs are pooled from strides 4, 8, 16 and 32; stride 64 is for proposals only."""

    strides = (4, 8, 16, 32, 64)
    pooled_levels = 4

    def __init__(
        self, depth: int = 50, *, width: int = 64, out_channels: int = 256, norm: Norm = nn.BatchNorm2d
    ) -> None:
        super().__init__()
        self.body = ResNet(depth, width=width, norm=norm)
        self.fpn = FeaturePyramid(self.body.channels, out_channels)
        self.out_channels = out_channels

    def forward(self, images: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.fpn(self.body(images))
        return [*maps, functional.max_pool2d(maps[-1], 1, 2)]


class SingleBackbone(nn.Module):
    """ResNet with a single output map: C4 (stride 16) or C5 (stride 32, or 16 with dilation)."""

    pooled_levels = 1

    def __init__(
        self, depth: int = 50, *, width: int = 64, level: int = 4, stride: int = 16, norm: Norm = nn.BatchNorm2d
    ) -> None:
        super().__init__()
        if (level, stride) not in ((4, 16), (5, 16), (5, 32)):
            raise ValueError(f"level, stride: expected (4, 16), (5, 16) or (5, 32), got {(level, stride)}")
        self.body = ResNet(depth, width=width, last_stride=stride if level == 5 else 32, norm=norm)
        if level == 4:
            self.body.layer4 = nn.Identity()
        self.level = level
        self.strides = (stride,)
        self.out_channels = self.body.channels[level - 2]

    def forward(self, images: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.body(images)
        return [maps[self.level - 2]]
