"""docs/localisation.md, written from the figures of a run: every number and every verdict on it is computed here."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from .pictures import ALIGNED, BASE
from .plan import IMAGE_SIZE, POOLERS, SETS
from .statistics import Difference, Result, chosen, difference_of, mean_of, metric, paired, paired_by_seed

KINDS = ("box", "mask")
#: Below this average precision, in percent, gains are bounded by how little is found, and factors mean nothing; and
#: below this nothing is found at all.
FLOOR, NOTHING = 5.0, 0.1
#: What is said of each set.
SET_NOTES = {
    "plain": "digits on textured ground",
    "small": "smaller digits",
    "rotated": "digits turned by up to 75 degrees",
    "dense": "digits, which may hide each other",
}
#: Table 2 of the Mask R-CNN paper (https://arxiv.org/abs/1703.06870): RoIPool, RoIAlign.
PUBLISHED = (
    ("stride 32, box", {"AP": (28.2, 34.0), "AP50": (52.7, 55.3), "AP75": (26.9, 36.4)}),
    ("stride 32, mask", {"AP": (23.6, 30.9), "AP75": (21.6, 32.1)}),
    ("stride 16 (C4), mask", {"AP": (26.9, 30.3), "AP75": (26.4, 31.5)}),
)


def write_page(report: dict[str, Any]) -> str:
    """The whole page."""
    results = report["results"]
    parts = [
        "# Does alignment pay?",
        "<!-- Written by `python -m benchmarks.localisation --write-docs` from docs/localisation.json. -->",
        answer(results),
        how(report),
        "## What each pooler gains over RoIPool",
        gain_tables(results),
        "## Over the overlap",
        over_the_overlap(),
        "## By size, and every figure",
        by_size(results),
        every_figure(results),
        "## Beside the paper",
        published(results),
        "## Side by side",
        SIDE_BY_SIDE,
        sliding(report["equivariance"]),
        REPEAT,
    ]
    return "\n\n".join(parts) + "\n"


def answer(results: Sequence[Result]) -> str:
    """The two questions, in the first lines."""
    stride = max(result["stride"] for result in results)
    lines = []
    for kind in KINDS:
        of = metric(kind, "AP75")
        gain = _gain(results, kind, "AP75", stride=stride)
        seeds = difference_of(paired_by_seed(results, ALIGNED, BASE, of, stride=stride))
        lines.append(
            f"**At stride {stride}, {kind} AP75 of RoIAlign (2 x 2 points) over RoIPool: {gain} points** (mean of "
            f"{gain.pairs} paired differences over sets and seeds, 95 % interval; {seeds} over {seeds.pairs} seeds, "
            f"their sets averaged first). {_verdict(gain)} {_by_set(results, kind, stride)}"
        )
    lines.append(f"**Does the gain grow with the overlap?** {growth(results, stride)}")
    lines += [f"Stride {finer}: {growth(results, finer)}" for finer in _strides(results)[1:]]
    return "\n\n".join(map(paragraph, lines))


def _by_set(results: Sequence[Result], kind: str, stride: int) -> str:
    """The sets one by one, since their mean may be the work of one."""
    sets = dict.fromkeys(result["set"] for result in results)
    gains = [f"{name} {_gain(results, kind, 'AP75', stride=stride, set=name)}" for name in sets]
    return f"Set by set, over its seeds: {'; '.join(gains)}."


def growth(results: Sequence[Result], stride: int) -> str:
    """Whether the gain at an overlap of 0.75 is larger than at 0.50, in points and as a factor."""
    return " ".join(_growth_of(results, kind, stride) for kind in KINDS)


def _growth_of(results: Sequence[Result], kind: str, stride: int) -> str:
    low, high = (paired(results, ALIGNED, BASE, metric(kind, name), stride=stride) for name in ("AP50", "AP75"))
    change = difference_of([b - a for a, b in zip(low, high, strict=True)])
    verdict = "grows" if change.low > 0 else "shrinks" if change.high < 0 else "neither surely grows nor shrinks"
    text = f"From AP50 to AP75 the {kind} gain in points {verdict} ({change})"
    bases, tops = (
        [mean_of(chosen(results, pooler=pooler, stride=stride), metric(kind, name)) for name in ("AP50", "AP75")]
        for pooler in (BASE, ALIGNED)
    )
    if bases[1] < FLOOR:
        return f"{text}; but RoIPool's AP75 is {bases[1]:.1f} there: with so little found, little can be gained."
    return f"{text}; as a factor it goes from {tops[0] / bases[0]:.2f} to {tops[1] / bases[1]:.2f}."


def _verdict(difference: Difference) -> str:
    if not difference.is_sure:
        return "The interval includes 0: this run does not show a difference."
    return "Aligning pays." if difference.mean > 0 else "Aligning costs."


def _gain(results: Sequence[Result], kind: str, name: str, pooler: str = ALIGNED, **wanted: Any) -> Difference:
    return difference_of(paired(results, pooler, BASE, metric(kind, name), **wanted))


def _gain_or_none(results: Sequence[Result], kind: str, name: str, pooler: str, stride: int) -> str:
    """A dash where neither finds anything at that overlap."""
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
                f"""`python -m benchmarks.localisation`, {report["minutes"]:.0f} minutes on {report["machine"]}, which
                had other work too; `make experiment` is a small form of it."""
            ),
            paragraph(
                f"""For every set, stride and seed a ResNet-18 with a single map (C5: stride 32, or 16 with dilation in
                the stride's place, the same layers and weights) and a region proposal network are trained,
                {plan["backbone_iterations"]} steps of {plan["batch_size"]} images, with a dense classifier of digits
                and ink beside them, so that the map knows what heads will ask it. **No pooler is involved.** Then all
                is frozen, maps and proposals are kept, and box and mask heads are trained on them once per pooler,
                {plan["head_iterations"]} steps: the same first weights, the same images and sampled boxes in the same
                order. What differs is the pooler. So differences are taken pair by pair, and the intervals are
                Student's, at 95 %, over those pairs: {len(plan["seeds"])} seeds of each set, or all sets and seeds
                together. A seed is another set of scenes and other weights."""
            ),
            paragraph(
                f"""{plan["train_images"]} scenes of {IMAGE_SIZE} x {IMAGE_SIZE} pixels to learn from and
                {plan["test_images"]} to test on, in handwriting that training never shows: {sets}. Average precision is
                COCO's, by pycocotools. Trainings are short, and the figures low beside those of
                [a detector trained for its own sake](detection.md); read the differences."""
            ),
        ]
    )


def paragraph(text: str) -> str:
    """Filled into lines."""
    return textwrap.fill(" ".join(text.split()), 120, break_long_words=False, break_on_hyphens=False)


def gain_tables(results: Sequence[Result]) -> str:
    """Of every pooler, all sets and seeds together."""
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
            f"Stride {stride}, points of average precision, all sets and seeds; - where nothing is found:\n\n"
            + "\n".join(rows)
        )
    rows = ["| stride | set | box AP | box AP75 | mask AP | mask AP75 |", "| --- | --- | --- | --- | --- | --- |"]
    for stride in _strides(results):
        for name in dict.fromkeys(result["set"] for result in results):
            gains = [_gain(results, kind, of, stride=stride, set=name) for kind in KINDS for of in ("AP", "AP75")]
            rows.append(f"| {stride} | {name} | " + " | ".join(map(str, gains)) + " |")
    parts.append(f"{ALIGNED} over RoIPool, set by set, intervals over its seeds:\n\n" + "\n".join(rows))
    return "\n\n".join(parts)


def over_the_overlap() -> str:
    return f"""![Average precision over the overlap, and the gain over RoIPool](localisation_overlap.png)

The band is the interval of {ALIGNED}, over sets and seeds."""


def by_size(results: Sequence[Result]) -> str:
    """COCO's sizes: small is below 32 x 32 pixels, medium up to 96 x 96."""
    rows = ["| stride | kind | small | medium |", "| --- | --- | --- | --- |"]
    for stride in _strides(results):
        for kind in KINDS:
            gains = [_gain(results, kind, f"AP_{size}", stride=stride) for size in ("small", "medium")]
            rows.append(f"| {stride} | {kind} | " + " | ".join(map(str, gains)) + " |")
    sizes = "small below 32 x 32 pixels, medium up to 96 x 96"
    return f"{ALIGNED} over RoIPool by the size of the object ({sizes}), points:\n\n" + "\n".join(rows)


def every_figure(results: Sequence[Result]) -> str:
    columns = [(kind, name) for kind in KINDS for name in ("AP", "AP50", "AP75", "AP90")]
    rows = ["| stride | set | pooler | " + " | ".join(f"{kind} {name}" for kind, name in columns) + " |"]
    rows.append("| --- | --- | --- |" + " --- |" * len(columns))
    for stride in _strides(results):
        for name in dict.fromkeys(result["set"] for result in results):
            for pooler in POOLERS:
                own = chosen(results, stride=stride, set=name, pooler=pooler)
                if own:
                    values = " | ".join(f"{mean_of(own, metric(*column)):.1f}" for column in columns)
                    rows.append(f"| {stride} | {name} | {pooler} | {values} |")
    return "Means over the seeds, percent:\n\n" + "\n".join(rows)


def published(results: Sequence[Result]) -> str:
    """The paper's gains and ours; its sets, detectors and trainings are others."""
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


SIDE_BY_SIDE = """Scenes of the first set and seed, at the smallest stride, on which the best detections of RoIPool's
heads and of RoIAlign's overlap the digits most differently, either way. Detections with a score of at least 0.5.

![The same scenes by RoIPool, RoIAlign and exact sampling](localisation_detections.png)"""


def sliding(measured: Sequence[dict[str, Any]]) -> str:
    """No training: how features move with the box."""
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
    return f"""## Boxes that slide: no training in it

`python -m benchmarks.equivariance`, under a minute. The map of stride s of a photograph (scikit-learn's two, and
scikit-image's astronaut) has as a pixel the mean of s x s pixels of the photograph. 200 boxes slide over each map by
sub-pixel steps, as far as one of its pixels, in both directions at once. The photograph can be moved the other way
instead, by whole pixels of its own: then the box stays where it is, and exact sampling of the moved photograph's map
says what the features should be. The error is the root mean square of the difference, in standard deviations of the
map: means are held against the exact mean, maxima against the exact maximum. What is left of `exact` is what a map of
that stride has lost.

![Error over how far the boxes have slid](localisation_sliding.png)

The largest error over the steps:

{chr(10).join(rows)}

**How many points?** The mean of points against the exact mean, on the same boxes, in standard deviations of the map:

![Error of a few points beside exact means](localisation_sampling.png)

{chr(10).join(samples)}"""


REPEAT = """## Repeat it

```sh
make experiment                                          # small: one set, one stride, a few minutes
.venv/bin/python -m benchmarks.localisation              # all of it; killed, the same command goes on
.venv/bin/python -m benchmarks.localisation --write-docs # and this page, its pictures and localisation.json
```"""


def _strides(results: Sequence[Result]) -> list[int]:
    return sorted({result["stride"] for result in results}, reverse=True)
