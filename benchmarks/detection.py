"""Profile a detector and the share of its pooling: ``python -m benchmarks.detection``."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from statistics import median
from typing import Annotated, Any

import torch
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from roialign.detection import DetectorSettings, TwoStageDetector

from .machine import cpu_model

SIZE = (800, 1333)
PROPOSALS = 1000
CLASSES = 90
#: Standard deviations of random weights. With the usual initialisation, all proposals have equal scores and nothing is
#: detected.
SPREAD = {"rpn.head.cls_logits": 0.01, "rpn.head.bbox_pred": 0.005, "cls_score": 0.3, "box_predictor.bbox_pred": 0.005}
POOLING = ("box pooling", "mask pooling")


class Clock:
    """Seconds of one pass by the name of each part."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self.counts: dict[str, int] = {}
        self._starts: dict[str, float] = {}

    def start(self, name: str) -> None:
        self._starts[name] = time.perf_counter()

    def stop(self, name: str) -> None:
        self.spent[name] += time.perf_counter() - self._starts.pop(name)

    def watch(self, module: nn.Module, name: str, backward: str | None = None) -> None:
        """Time a module's forward pass. If `backward` names its maps, also time the computation of their gradients."""

        def before(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
            self.start(name)
            if backward is None or not torch.is_grad_enabled():
                return None
            maps, *others = inputs
            return (list(_Ends.apply(self, backward, *maps)), *others)

        def after(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
            self.stop(name)
            if name in POOLING:
                self.counts[name] = len(output)
            if backward is None or not torch.is_grad_enabled():
                return None
            del inputs
            return _Begins.apply(self, backward, output)

        module.register_forward_pre_hook(before)
        module.register_forward_hook(after)


class _Begins(torch.autograd.Function):
    """Placed after a module. Its backward runs just before the module's backward."""

    @staticmethod
    def forward(ctx: Any, clock: Clock, name: str, output: Tensor) -> Tensor:
        ctx.clock, ctx.name = clock, name
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor]:  # type: ignore[override]
        ctx.clock.start(ctx.name)
        return None, None, gradient


class _Ends(torch.autograd.Function):
    """Placed before a module. Its backward runs just after the module's backward."""

    @staticmethod
    def forward(ctx: Any, clock: Clock, name: str, *maps: Tensor) -> tuple[Tensor, ...]:
        ctx.clock, ctx.name = clock, name
        return tuple(level.view_as(level) for level in maps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        ctx.clock.stop(ctx.name)
        return None, None, *gradients


def make_model(pooler: str) -> TwoStageDetector:
    """Create a ResNet-50-FPN Mask R-CNN with random weights that detects something."""
    torch.manual_seed(0)
    settings = DetectorSettings("mask-rcnn", "resnet50-fpn", pooler, classes=tuple(map(str, range(CLASSES))))
    model = settings.build()
    for name, parameter in model.named_parameters():
        for part, deviation in SPREAD.items():
            if name.endswith(f"{part}.weight"):
                nn.init.normal_(parameter, std=deviation)
    return model


def watch(model: TwoStageDetector) -> Clock:
    clock = Clock()
    heads = model.roi_heads
    clock.watch(model.backbone.body, "ResNet-50")  # type: ignore[arg-type]
    clock.watch(model.backbone.fpn, "feature pyramid")  # type: ignore[arg-type]
    clock.watch(model.rpn, "proposals")
    clock.watch(heads.box_pooler, "box pooling", "box pooling, backward")
    clock.watch(heads.stages[0], "box head")
    assert heads.mask_pooler is not None
    assert heads.mask_branch is not None
    clock.watch(heads.mask_pooler, "mask pooling", "mask pooling, backward")
    clock.watch(heads.mask_branch, "mask head")
    return clock


def profile(step: Callable[[], object], clock: Clock, repeats: int, rest: str) -> dict[str, float]:
    """Return the median milliseconds of every part, and of the whole under ``"all"``."""
    passes: list[dict[str, float]] = []
    for index in range(repeats + 1):
        clock.spent.clear()
        begin = time.perf_counter()
        step()
        whole = time.perf_counter() - begin
        if index:  # the first pass allocates memory
            passes.append({**clock.spent, rest: whole - sum(clock.spent.values()), "all": whole})
    return {name: 1e3 * median(one[name] for one in passes) for name in passes[0]}


def show(console: Console, title: str, spent: dict[str, float]) -> None:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in ("part", "ms", "share"):
        table.add_column(name, justify="left" if name == "part" else "right")
    for name, milliseconds in spent.items():
        table.add_row(name, f"{milliseconds:.1f}", f"{100 * milliseconds / spent['all']:.1f} %")
    pooling = sum(value for name, value in spent.items() if name.startswith(POOLING))
    table.add_section()
    table.add_row("all pooling", f"{pooling:.1f}", f"{100 * pooling / spent['all']:.1f} %")
    console.print(table)


def train_step(model: TwoStageDetector, images: list[Tensor], objects: int) -> Callable[[], None]:
    """Run forward and backward on images with random objects."""
    height, width = images[0].shape[-2:]
    corners = torch.rand(objects, 2) * torch.tensor([width - 200, height - 200])
    boxes = torch.cat([corners, corners + 20 + torch.rand(objects, 2) * 180], dim=1)
    target = {
        "boxes": boxes,
        "labels": torch.randint(1, model.roi_heads.num_classes, (objects,)),
        "masks": torch.ones(objects, height, width, dtype=torch.uint8),
    }

    def step() -> None:
        model.zero_grad()
        sum(model(images, [target] * len(images)).values()).backward()

    return step


def main(
    pooler: Annotated[str, typer.Option(help="Pooler of the model.")] = "exact",
    threads: Annotated[int, typer.Option(min=1, help="Number of torch threads.")] = 2,
    repeats: Annotated[int, typer.Option(min=1, help="Number of passes. The median is reported.")] = 5,
    training: Annotated[bool, typer.Option("--training", help="Also profile a training step on two images.")] = False,
) -> None:
    """Profile a ResNet-50-FPN Mask R-CNN with random weights on one 800x1333 image with 1000 proposals."""
    torch.set_num_threads(threads)
    console = Console(width=100)
    console.print(f"{cpu_model()}, {threads} threads, torch {torch.__version__}, pooler {pooler}", highlight=False)
    model = make_model(pooler).eval()
    clock = watch(model)
    images = [torch.rand(3, *SIZE)]
    with torch.no_grad():
        spent = profile(lambda: model(images), clock, repeats, "the rest: decoding, suppression, pasting")
    found = clock.counts
    if found["box pooling"] != PROPOSALS:
        raise RuntimeError(f"expected {PROPOSALS} proposals, got {found['box pooling']}")
    show(console, f"Detection: {found['box pooling']} proposals, {found['mask pooling']} detections", spent)
    if training:
        step = train_step(model.train(), images * 2, objects=10)
        spent = profile(step, clock, max(repeats // 2, 1), "the rest: losses, matching, the other gradients")
        rois = " and ".join(str(found[name]) for name in POOLING)
        show(console, f"Training step: 2 images, {rois} RoIs", spent)


if __name__ == "__main__":
    typer.run(main)
