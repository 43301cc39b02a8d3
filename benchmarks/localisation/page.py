"""Write docs/localisation.md from the results of a run. Every number and every verdict on the page is computed here."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from .pictures import ALIGNED, BASE
from .plan import IMAGE_SIZE, POOLERS, SETS
from .statistics import Difference, Result, chosen, difference_of, mean_of, metric, paired, paired_by_seed

KINDS = ("box", "mask")
#: Below FLOOR (average precision in percent) so few objects are detected that gains stay small and factors mean
#: nothing. Below NOTHING, no objects are detected.
FLOOR, NOTHING = 5.0, 0.1
#: The description of each dataset.
SET_NOTES = {
    "plain": "digits on a textured background",
    "small": "smaller digits",
    "rotated": "digits turned by up to 75 degrees",
    "dense": "digits that may overlap each other",
}
#: Table 2 of the Mask R-CNN paper (https://arxiv.org/abs/1703.06870): RoIPool, RoIAlign.
PUBLISHED = (
    ("stride 32, box", {"AP": (28.2, 34.0), "AP50": (52.7, 55.3), "AP75": (26.9, 36.4)}),
    ("stride 32, mask", {"AP": (23.6, 30.9), "AP75": (21.6, 32.1)}),
    ("stride 16 (C4), mask", {"AP": (26.9, 30.3), "AP75": (26.4, 31.5)}),
)

#: For a run whose report was written before offsets had a learning rate of their own.
FULL_OFFSET_RATE = """\
In this run, the offsets of the deformable pooler were learned at the full learning rate, so it lost most masks at
stride 16. At a tenth of that rate, the default, its masks are as good as those of RoIAlign:
[deformable.md](deformable.md)."""


def write_page(report: dict[str, Any], more: Sequence[str] = ()) -> str:
    """Return the whole page. `more` are sections of other experiments."""
    results = report["results"]
    parts = [
        "# Does alignment pay?",
        "<!-- Written by `python -m benchmarks.localisation --write-docs` from docs/localisation.json. -->",
        answer(results),
        how(report),
        "## What each pooler gains over RoIPool",
        gain_tables(results),
        *([FULL_OFFSET_RATE] if report.get("offset_rate", 1.0) == 1.0 else []),
        "## By overlap",
        over_the_overlap(),
        "## By object size, and all figures",
        by_size(results),
        every_figure(results),
        "## Comparison with the paper",
        published(results),
        "## Examples",
        SIDE_BY_SIDE,
        *more,
        sliding(report["equivariance"]),
        REPEAT,
    ]
    return "\n\n".join(parts) + "\n"


def answer(results: Sequence[Result]) -> str:
    """Answer the two questions in the first lines of the page."""
    stride = max(result["stride"] for result in results)
    lines = []
    for kind in KINDS:
        of = metric(kind, "AP75")
        gain = _gain(results, kind, "AP75", stride=stride)
        seeds = difference_of(paired_by_seed(results, ALIGNED, BASE, of, stride=stride))
        lines.append(
            f"**At stride {stride}, RoIAlign (2 x 2 points) changes {kind} AP75 by {gain} points compared with "
            f"RoIPool.** {_verdict(gain)} This is the mean of {gain.pairs} paired differences over datasets and seeds, "
            f"with its 95 % confidence interval. If the datasets are averaged first, the difference over "
            f"{seeds.pairs} seeds is {seeds}. {_by_set(results, kind, stride)}"
        )
    lines.append(f"**Does the gain grow with the overlap?** {growth(results, stride)}")
    lines += [f"Stride {finer}: {growth(results, finer)}" for finer in _strides(results)[1:]]
    return "\n\n".join(map(paragraph, lines))


def _by_set(results: Sequence[Result], kind: str, stride: int) -> str:
    """The difference on each dataset, because one dataset alone may cause the mean."""
    sets = dict.fromkeys(result["set"] for result in results)
    gains = [f"{name} {_gain(results, kind, 'AP75', stride=stride, set=name)}" for name in sets]
    return f"By dataset, over its seeds: {'; '.join(gains)}."


def growth(results: Sequence[Result], stride: int) -> str:
    """State whether the gain at an overlap of 0.75 is larger than at 0.50, in points and as a ratio."""
    return " ".join(_growth_of(results, kind, stride) for kind in KINDS)


def _growth_of(results: Sequence[Result], kind: str, stride: int) -> str:
    low, high = (paired(results, ALIGNED, BASE, metric(kind, name), stride=stride) for name in ("AP50", "AP75"))
    change = difference_of([b - a for a, b in zip(low, high, strict=True)])
    verdict = "grows" if change.low > 0 else "shrinks" if change.high < 0 else "does not clearly grow or shrink"
    text = f"From AP50 to AP75 the {kind} gain in points {verdict} ({change})"
    bases, tops = (
        [mean_of(chosen(results, pooler=pooler, stride=stride), metric(kind, name)) for name in ("AP50", "AP75")]
        for pooler in (BASE, ALIGNED)
    )
    if bases[1] < FLOOR:
        return f"{text}. But RoIPool's AP75 is only {bases[1]:.1f}, and with so few detections the gain is limited."
    return f"{text}. The ratio to RoIPool goes from {tops[0] / bases[0]:.2f} to {tops[1] / bases[1]:.2f}."


def _verdict(difference: Difference) -> str:
    if not difference.is_sure:
        return "The interval includes 0, so this run does not show a difference."
    return "Alignment helps." if difference.mean > 0 else "Alignment hurts."


def _gain(results: Sequence[Result], kind: str, name: str, pooler: str = ALIGNED, **wanted: Any) -> Difference:
    return difference_of(paired(results, pooler, BASE, metric(kind, name), **wanted))


def _gain_or_none(results: Sequence[Result], kind: str, name: str, pooler: str, stride: int) -> str:
    """The gain, or a dash if neither pooler detects anything at that overlap."""
    found = [mean_of(chosen(results, pooler=each, stride=stride), metric(kind, name)) for each in (pooler, BASE)]
    return "-" if max(found) < NOTHING else str(_gain(results, kind, name, pooler, stride=stride))


def how(report: dict[str, Any]) -> str:
    plan = report["plan"]
    sets = "; ".join(
        f"*{name}*, {SETS[name].objects[0]} to {SETS[name].objects[1]} {SET_NOTES[name]}, "
        f"{SETS[name].object_size[0]} to {SETS[name].object_size[1]} pixels"
        for name in plan["sets"]
    )
    return "\n\n".join(
        [
            "## How it was measured",
            paragraph(
                f"""`python -m benchmarks.localisation` {time_and_machine(report)}.
                `make experiment` runs a small version of it."""
            ),
            paragraph(
                f"""First, a backbone is trained for every dataset, stride and seed, **without a pooler**. It is a
                ResNet-18 with a single feature map (C5) and a region proposal network. The map has stride 32, or
                stride 16 if the last stride is replaced by dilation; the layers and weights are the same. Training
                takes {plan["backbone_iterations"]} steps of {plan["batch_size"]} images. An auxiliary dense classifier
                of digits and ink trains the map to contain what the heads will need."""
            ),
            paragraph(
                f"""Then the backbone is frozen and its maps and proposals are stored. Box and mask heads are trained on
                them for {plan["head_iterations"]} steps, once per pooler. Every pooler gets the same initial weights,
                images and sampled boxes in the same order, so only the pooler differs. Differences are therefore taken
                within each pair. The intervals are Student's t intervals at 95 % over the pairs: the
                {len(plan["seeds"])} seeds of one dataset, or all datasets and seeds together. Every seed has its own
                scenes and weights."""
            ),
            paragraph(
                f"""There are {plan["train_images"]} training scenes and {plan["test_images"]} test scenes of
                {IMAGE_SIZE} x {IMAGE_SIZE} pixels. The test scenes use handwriting that does not occur in training.
                The datasets are: {sets}. Average precision is COCO's, computed by pycocotools. Training is short, so
                the absolute figures are lower than those of [a fully trained detector](detection.md). Compare the
                differences instead."""
            ),
        ]
    )


def time_and_machine(report: dict[str, Any]) -> str:
    """The machine of a run, and how long it took if that is known: a copied folder has lost the times of its files."""
    minutes = report["minutes"]
    time = f"took {minutes:.0f} minutes" if minutes >= 1 else "ran"
    return f"{time} on {report['machine']}, which also ran other programs"


def paragraph(text: str) -> str:
    """Wrap the text into lines."""
    return textwrap.fill(" ".join(text.split()), 120, break_long_words=False, break_on_hyphens=False)


def gain_tables(results: Sequence[Result]) -> str:
    """The gains of every pooler over all datasets and seeds."""
    names = [name for name in POOLERS if name != BASE and chosen(results, pooler=name)]
    parts = []
    for stride in _strides(results):
        rows = [
            "| pooler | "
            + " | ".join(f"{kind} {name}" for kind in KINDS for name in ("AP", "AP50", "AP75", "AP90"))
            + " |"
        ]
        rows.append("| --- |" + " --- |" * 8)
        for pooler in names:
            gains = [
                _gain_or_none(results, kind, name, pooler, stride)
                for kind in KINDS
                for name in ("AP", "AP50", "AP75", "AP90")
            ]
            rows.append(f"| {pooler} | " + " | ".join(gains) + " |")
        parts.append(
            f"Stride {stride}, in points of average precision, over all datasets and seeds (- means no detections):\n\n"
            + "\n".join(rows)
        )
    rows = ["| stride | dataset | box AP | box AP75 | mask AP | mask AP75 |", "| --- | --- | --- | --- | --- | --- |"]
    for stride in _strides(results):
        for name in dict.fromkeys(result["set"] for result in results):
            gains = [_gain(results, kind, of, stride=stride, set=name) for kind in KINDS for of in ("AP", "AP75")]
            rows.append(f"| {stride} | {name} | " + " | ".join(map(str, gains)) + " |")
    parts.append(
        f"Gain of {ALIGNED} over RoIPool on each dataset, with intervals over its seeds:\n\n" + "\n".join(rows)
    )
    return "\n\n".join(parts)


def over_the_overlap() -> str:
    return f"""![Average precision by overlap, and the gain over RoIPool](localisation_overlap.png)

The band is the 95 % interval over datasets and seeds for {ALIGNED}."""


def by_size(results: Sequence[Result]) -> str:
    """Return the gains by COCO's sizes: small is below 32 x 32 pixels, medium up to 96 x 96."""
    rows = ["| stride | kind | small | medium |", "| --- | --- | --- | --- |"]
    for stride in _strides(results):
        for kind in KINDS:
            gains = [_gain(results, kind, f"AP_{size}", stride=stride) for size in ("small", "medium")]
            rows.append(f"| {stride} | {kind} | " + " | ".join(map(str, gains)) + " |")
    sizes = "small below 32 x 32 pixels, medium up to 96 x 96"
    return f"Gain of {ALIGNED} over RoIPool by object size ({sizes}), in points:\n\n" + "\n".join(rows)


def every_figure(results: Sequence[Result]) -> str:
    columns = [(kind, name) for kind in KINDS for name in ("AP", "AP50", "AP75", "AP90")]
    rows = ["| stride | dataset | pooler | " + " | ".join(f"{kind} {name}" for kind, name in columns) + " |"]
    rows.append("| --- | --- | --- |" + " --- |" * len(columns))
    for stride in _strides(results):
        for name in dict.fromkeys(result["set"] for result in results):
            for pooler in POOLERS:
                own = chosen(results, stride=stride, set=name, pooler=pooler)
                if own:
                    values = " | ".join(f"{mean_of(own, metric(*column)):.1f}" for column in columns)
                    rows.append(f"| {stride} | {name} | {pooler} | {values} |")
    return "Means over the seeds, in percent:\n\n" + "\n".join(rows)


def published(results: Sequence[Result]) -> str:
    """The gains in the paper and in this run. The paper uses other datasets, detectors and training."""
    rows = ["| | metric | RoIPool | RoIAlign | gain |", "| --- | --- | --- | --- | --- |"]
    for what, figures in PUBLISHED:
        for name, (pool, align) in figures.items():
            rows.append(f"| Mask R-CNN, table 2, {what} | {name} | {pool} | {align} | {align - pool:+.1f} |")
    for stride in _strides(results):
        for kind in KINDS:
            for name in ("AP", "AP50", "AP75"):
                pool, align = (
                    mean_of(chosen(results, pooler=pooler, stride=stride), metric(kind, name))
                    for pooler in (BASE, ALIGNED)
                )
                gain = _gain(results, kind, name, stride=stride)
                rows.append(f"| here, stride {stride}, {kind} | {name} | {pool:.1f} | {align:.1f} | {gain} |")
    return "\n".join(rows)


SIDE_BY_SIDE = """These are the scenes with the largest difference between RoIPool and RoIAlign, in either direction, in
how well their best detections overlap the digits. They come from the first dataset and seed, at the smallest stride.
Detections with a score of at least 0.5 are shown.

![The same scenes by RoIPool, RoIAlign and exact sampling](localisation_detections.png)"""


def sliding(measured: Sequence[dict[str, Any]]) -> str:
    """How features change as the box slides. No training is involved."""
    rows = ["| stride | bins | " + " | ".join(measured[0]["sliding"]) + " |"]
    rows.append("| --- | --- |" + " --- |" * len(measured[0]["sliding"]))
    for each in measured:
        worst = " | ".join(f"{max(errors):.3f}" for errors in each["sliding"].values())
        rows.append(f"| {each['stride']} | {each['output_size']} | {worst} |")
    samples = ["| stride | bins | " + " | ".join(measured[0]["sampling"]) + " |"]
    samples.append("| --- | --- |" + " --- |" * len(measured[0]["sampling"]))
    for each in measured:
        values = " | ".join(f"{error:.4f}" for error in each["sampling"].values())
        samples.append(f"| {each['stride']} | {each['output_size']} | {values} |")
    return f"""## Sliding boxes, without training

`python -m benchmarks.equivariance` takes less than a minute. It uses two photographs from scikit-learn and the
astronaut from scikit-image. Each pixel of the feature map of stride s is the mean of s x s pixels of the photograph.
On each map, 200 boxes slide by up to one map pixel in x and y at once, in sub-pixel steps.

The expected features come from moving the photograph in the opposite direction by whole photograph pixels. The box
then stays in place, and the moved photograph's map is pooled with exact sampling. The error is the root mean square of
the difference, in standard deviations of the map. Means are compared with the exact mean, and maxima with the exact
maximum. The remaining error of `exact` is the information that a map of that stride has lost.

![Error of each operator by how far the boxes have moved](localisation_sliding.png)

The largest error over all steps:

{chr(10).join(rows)}

**How many points are needed?** This table compares the mean over sample points with the exact mean, for the same boxes,
in standard deviations of the map:

![Error of sampled means compared with exact means](localisation_sampling.png)

{chr(10).join(samples)}"""


REPEAT = """## Reproduce

```sh
make experiment                                          # small: one dataset, one stride, a few minutes
.venv/bin/python -m benchmarks.localisation              # all of it; if it is stopped, rerun it to resume
.venv/bin/python -m benchmarks.localisation --write-docs # also writes this page, its pictures and the JSON file
.venv/bin/python -m benchmarks.localisation.rotated      # rotated boxes; --small and --write-docs as above
```"""


def _strides(results: Sequence[Result]) -> list[int]:
    return sorted({result["stride"] for result in results}, reverse=True)
