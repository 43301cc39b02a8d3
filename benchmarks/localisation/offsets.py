"""Find out why a deformable pooler lost masks: ``python -m benchmarks.localisation.offsets``.

Mask R-CNN's heads are trained on one map of stride 16. The offsets are learned at different rates, only for the boxes,
or not at all. The results are average precision and how far the offsets move the bins, in sides of the RoI.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import typer
from torch import Tensor

from roialign.detection.poolers import make_pooler
from roialign.detection.roi_heads import RoIHeads
from roialign.detection.training.optimisation import OFFSET_RATE
from roialign.torch import DeformRoIPoolPack

from ..machine import machine_in_short
from ..options import DOCS, Out, Processes
from ..process import ROOT
from ..terminal import make_console, make_progress
from .first_stage import dataset_of
from .heads import detections, figures, new_heads, train_heads
from .plan import FULL, POOLERS, Cell, Plan
from .run import first_stage_of, write_json
from .statistics import difference_of

RESULTS = ROOT / "benchmarks" / "results" / "offsets"
STRIDE = 16
#: Number of bins along each axis of the mask head's pooler.
MASK_BINS = 14
ALIGNED, DEFORMABLE = "RoIAlign, 2 x 2", "deformable"
#: Number of steps between two recorded sizes of the offsets.
EVERY = 25


class Variant(NamedTuple):
    """The poolers of the two heads, and the learning rate of the offsets as a fraction of the learning rate."""

    boxes: str
    masks: str
    offset_rate: float = 1.0


VARIANTS = {
    "RoIAlign, 2 x 2": Variant(ALIGNED, ALIGNED),
    "deformable, offsets at the full learning rate": Variant(DEFORMABLE, DEFORMABLE),
    "deformable boxes at the full learning rate, aligned masks": Variant(DEFORMABLE, ALIGNED),
    f"deformable, offsets at {OFFSET_RATE:g} of it": Variant(DEFORMABLE, DEFORMABLE, OFFSET_RATE),
    "deformable, offsets at 0.01 of it": Variant(DEFORMABLE, DEFORMABLE, 0.01),
}


def run_seed(folder: Path, plan: Plan, seed: int) -> None:
    """Train every variant on the maps of one backbone, except for results that exist."""
    torch.set_num_threads(1)
    cell = Cell(plan.sets[0], STRIDE, seed)
    if all(result_path(folder, seed, name).exists() for name in VARIANTS):
        return
    train, test = (dataset_of(folder, plan, cell, split) for split in ("train", "val"))
    seen = first_stage_of(folder, plan, cell)
    for name, variant in VARIANTS.items():
        path = result_path(folder, seed, name)
        if path.exists():
            continue
        heads = new_heads(plan, cell, variant.boxes)
        if variant.masks != variant.boxes:
            channels = seen["train"].maps.shape[1]
            heads.mask_pooler = make_pooler(POOLERS[variant.masks], MASK_BINS, [STRIDE], channels)
        sizes = watch(heads)
        train_heads(plan, cell, variant.boxes, train, seen["train"], heads, variant.offset_rate)
        result: dict[str, Any] = {"seed": seed, "variant": name, "offsets": {k: v[::EVERY] for k, v in sizes.items()}}
        result |= figures(test, detections(heads, test, seen["val"]))
        if variant == Variant(DEFORMABLE, DEFORMABLE):
            without_offsets(heads)
            result["mask without offsets"] = figures(test, detections(heads, test, seen["val"]))["mask"]
        write_json(path, result)


def watch(heads: RoIHeads) -> dict[str, list[float]]:
    """Return lists that receive the mean size of the offsets of every call, in sides of the RoI."""
    sizes: dict[str, list[float]] = {}
    for name, pooler in (("boxes", heads.box_pooler), ("masks", heads.mask_pooler)):
        if isinstance(pooler, DeformRoIPoolPack):
            sizes[name] = []
            pooler.offset_fc.register_forward_hook(_keep(sizes[name], float(pooler.arguments["gamma"])))
    return sizes


def _keep(sizes: list[float], gamma: float) -> Any:
    def hook(_module: object, _inputs: object, offset: Tensor) -> None:
        sizes.append(float(offset.detach().abs().mean()) * gamma)

    return hook


@torch.no_grad()
def without_offsets(heads: RoIHeads) -> None:
    """Set the offsets of the mask head to zero, so that its bins are those of RoIAlign."""
    assert isinstance(heads.mask_pooler, DeformRoIPoolPack)
    for parameter in list(heads.mask_pooler.offset_fc.parameters())[-2:]:
        parameter.zero_()


def result_path(folder: Path, seed: int, name: str) -> Path:
    return folder / "results" / f"seed{seed}-{list(VARIANTS).index(name)}.json"


def write_page(report: dict[str, Any]) -> str:
    """Return the text of docs/deformable.md."""
    results, seeds = report["results"], report["seeds"]
    rows = []
    for name in VARIANTS:
        own = [result for result in results if result["variant"] == name]
        cells = [_mean(own, kind, figure) for kind in ("box", "mask") for figure in ("AP", "AP75")]
        gain = "-" if name == ALIGNED else str(_gain(results, name))
        rows.append(f"| {name} | {' | '.join(cells)} | {gain} |")
        if all("mask without offsets" in result for result in own):
            cells = [_mean(own, "mask without offsets", figure) for figure in ("AP", "AP75")]
            rows.append(f"| the same, with the mask offsets set to zero for testing | | | {' | '.join(cells)} | |")
    moves = []
    for name in VARIANTS:
        own = [result for result in results if result["variant"] == name]
        for head in own[0]["offsets"]:
            steps = zip(*(result["offsets"][head] for result in own), strict=True)
            sizes = " | ".join(f"{sum(of_step) / len(of_step):.3f}" for of_step in steps)
            moves.append(f"| {name} | {head} | {sizes} |")
    steps = len(moves[0].split("|")) - 4
    return PAGE.format(
        machine=report["machine"],
        seeds=seeds,
        rate=OFFSET_RATE,
        rows="\n".join(rows),
        steps=" | ".join(str(step * EVERY) for step in range(steps)),
        rule=" | ".join(["---:"] * steps),
        moves="\n".join(moves),
    )


def _mean(results: Sequence[dict[str, Any]], kind: str, figure: str) -> str:
    return f"{100 * sum(_value(result[kind], figure) for result in results) / len(results):.1f}"


def _value(found: dict[str, Any], figure: str) -> float:
    return float(found["AP"] if figure == "AP" else found["AP_by_iou"]["0.75"])


def _gain(results: Sequence[dict[str, Any]], name: str) -> Any:
    """Return the gain in mask AP over RoIAlign on the same maps."""
    of_seed = {result["seed"]: result["mask"]["AP"] for result in results if result["variant"] == ALIGNED}
    return difference_of(
        [100 * (result["mask"]["AP"] - of_seed[result["seed"]]) for result in results if result["variant"] == name]
    )


PAGE = """# Why a deformable pooler lost masks

With one learning rate for all layers, a Mask R-CNN with a deformable pooler detects boxes as well as one with
RoIAlign, but loses most of its masks. The pooler is correct: its gradients agree with finite differences, and with
zero offsets its output has the same bits as RoIAlign with 2 x 2 points. The cause is how the offsets are learned.

Three linear layers compute the offsets from all pooled values. With 14 x 14 bins, the first layer has so many inputs
that a few steps of AdamW at the full learning rate move the bins by several sides of the RoI. That far away, the map
contains nothing about the object, so no gradient moves the bins back. The box head, with 7 x 7 bins, moves its bins by
only a few hundredths of a side.

`roialign train` therefore learns offsets at {rate:g} times the learning rate. Dai et al. (2017) do the same with 0.01.

The table shows average precision in percent. The values are means over {seeds} seeds, each with its own backbone and
maps of stride 16, on the plain scenes of [localisation.md](localisation.md). The gain is in mask AP over RoIAlign on
the same maps, with its 95 % interval.

| poolers | box AP | box AP75 | mask AP | mask AP75 | gain |
| --- | ---: | ---: | ---: | ---: | ---: |
{rows}

How far the offsets move a bin after each number of steps, in sides of the RoI (mean over bins, RoIs and seeds):

| poolers | head | {steps} |
| --- | --- | {rule} |
{moves}

Setting the offsets of the trained mask head to zero does not help, because the head was trained with the moved bins.

`python -m benchmarks.localisation.offsets --write-docs` runs the experiment and writes this page. The machine was
{machine}.
"""


def main(
    out: Out = None,
    seeds: Annotated[int, typer.Option(min=2, help="Number of backbones. Every variant is trained on each.")] = 3,
    processes: Processes = 2,
    write_docs: Annotated[bool, typer.Option("--write-docs", help="Write docs/deformable.md and its figures.")] = False,
) -> None:
    """Train the heads of Mask R-CNN with different learning rates for the offsets."""
    plan, console = FULL, make_console()
    out = out or RESULTS
    out.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    with make_progress(console) as progress, ProcessPoolExecutor(processes, context) as pool:
        task = progress.add_task("seeds", total=seeds)
        for future in [pool.submit(run_seed, out, plan, seed) for seed in range(seeds)]:
            future.result()
            progress.advance(task)
    results = [json.loads(result_path(out, seed, name).read_text()) for seed in range(seeds) for name in VARIANTS]
    report = {"machine": machine_in_short(), "seeds": seeds, "results": results}
    pages = DOCS if write_docs else out
    write_json(pages / "deformable.json", report)
    (pages / "deformable.md").write_text(write_page(report), encoding="utf-8")
    console.print(f"written: {pages.name}/deformable.md, {pages.name}/deformable.json")


if __name__ == "__main__":
    typer.run(main)
