"""Write the section on rotated boxes. Every number and every verdict in it is computed here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from .aspect_ratios import RATIOS
from .page import paragraph, time_and_machine
from .plan import IMAGE_SIZE
from .rotated_plan import ALIGN, HEADS, POOL, ROTATED, SETS, UPRIGHT
from .statistics import Difference, Metric, Result, chosen, difference_of, mean_of, metric, paired

BOX = "rotated_box"
FIGURES = ("AP", "AP50", "AP75")
SET_NOTES = {"rotated": "digits", "elongated": "digits that are 3 to 7 times as long as they are wide"}


class Comparison(NamedTuple):
    """Two heads that differ in one thing."""

    what: str
    one: str
    other: str


COMPARISONS = (
    Comparison("bins along the box instead of along its hull", ROTATED, ALIGN),
    Comparison("RoIAlign instead of RoIPool, both of the hull", ALIGN, POOL),
    Comparison("rotated boxes instead of upright ones, RoIAlign of the hull", ALIGN, UPRIGHT),
    Comparison("rotated boxes and rotated RoIAlign instead of upright boxes", ROTATED, UPRIGHT),
)


def section(report: dict[str, Any]) -> str:
    """Return the whole section."""
    results = report["results"]
    parts = [
        "## Rotated boxes: what is the angle worth?",
        answer(results),
        how(report),
        "Means over the seeds, in percent:\n\n" + means(results),
        "Differences in points, over the seeds of each dataset and over both datasets together:\n\n" + gains(results),
        paragraph(
            """By the aspect ratio of the objects, over the datasets that have such objects. Other objects are ignored,
            and so are detections that match no object and whose own ratio is outside the range, as in COCO's
            evaluation by size. Therefore, few detections of upright boxes count as wrong here. A dash means that there
            is no such object or that no head finds one."""
        ),
        by_ratio(results),
    ]
    return "\n\n".join(parts)


def answer(results: Sequence[Result]) -> str:
    """Answer the question in the first lines of the section."""
    angle, of_hull, upright = (
        difference_of(paired(results, one, other, metric(BOX, "AP75")))
        for _, one, other in (COMPARISONS[0], COMPARISONS[1], COMPARISONS[3])
    )
    return paragraph(
        f"""**With proposals that are rotated, pooling along the proposal instead of its upright hull changes AP75 by
        {angle} points.** {verdict(angle, "The alignment of the angle")} RoIAlign instead of RoIPool, both of the hull,
        changes it by {of_hull}. {verdict(of_hull, "Alignment without the angle")} Compared with a head of upright
        boxes, rotated boxes and rotated RoIAlign together change it by {upright}. These are means of {angle.pairs}
        paired differences over datasets and seeds, with their 95 % confidence intervals, of average precision by the
        overlap of rotated boxes."""
    )


def verdict(difference: Difference, what: str) -> str:
    """Say what a difference shows."""
    if not difference.is_sure:
        return f"The interval includes 0, so this run does not show that {what[0].lower()}{what[1:]} matters."
    return f"{what} {'helps' if difference.mean > 0 else 'hurts'}."


def how(report: dict[str, Any]) -> str:
    plan = report["plan"]
    sets = "; ".join(
        f"*{name}*, {{0}} to {{1}} {SET_NOTES[name]}, {{2}} to {{3}} pixels long".format(
            *SETS[name].objects, *SETS[name].object_size
        )
        for name in plan["sets"]
    )
    return "\n\n".join(
        [
            paragraph(
                f"""`python -m benchmarks.localisation.rotated` {time_and_machine(report)}.
                The method is that of the experiment above. The
                backbone has one map of stride {plan["strides"][0]} and is trained for {plan["backbone_iterations"]}
                steps, with the region proposal network of Oriented R-CNN, which proposes rotated boxes. Then all heads
                are trained for {plan["head_iterations"]} steps on the same maps, proposals, images and samples. Copies
                of the objects, moved, resized and turned at random, are added to the proposals of training images.
                Three heads predict rotated boxes from pooled features of a proposal and differ only in the pooler. The
                fourth predicts upright boxes from the upright hulls of the proposals, with RoIAlign. All use 2 x 2
                sample points per bin, except RoIPool."""
            ),
            paragraph(
                f"""Objects are turned by up to 75 degrees. The datasets are: {sets}. All digits are one class, because
                thin ones are hard to read, and the question is where objects are. There are {plan["train_images"]}
                training scenes and {plan["test_images"]} test scenes of {IMAGE_SIZE} x {IMAGE_SIZE} pixels, and
                {len(plan["seeds"])} seeds, each with its own scenes and weights. Training is short, so compare the
                differences, not the absolute figures."""
            ),
        ]
    )


def means(results: Sequence[Result]) -> str:
    rows = [f"| dataset | head | {' | '.join(FIGURES)} |", "| --- | --- |" + " ---: |" * len(FIGURES)]
    for name in _sets(results):
        for head in HEADS:
            own = chosen(results, set=name, pooler=head)
            values = " | ".join(_number(mean_of(own, metric(BOX, figure))) for figure in FIGURES)
            rows.append(f"| {name} | {head} | {values} |")
    return "\n".join(rows)


def gains(results: Sequence[Result]) -> str:
    rows = [f"| dataset | difference | {' | '.join(FIGURES)} |", "| --- | --- |" + " --- |" * len(FIGURES)]
    for name in (*_sets(results), None):
        wanted = {} if name is None else {"set": name}
        for what, one, other in COMPARISONS:
            values = [difference_of(paired(results, one, other, metric(BOX, figure), **wanted)) for figure in FIGURES]
            rows.append(f"| {name or 'both'} | {what} | {' | '.join(map(str, values))} |")
    return "\n".join(rows)


def by_ratio(results: Sequence[Result]) -> str:
    figures = FIGURES[1:]
    rows = [
        "| ratio | figure | " + " | ".join(HEADS) + f" | {COMPARISONS[0].what} |",
        "| --- | --- |" + " ---: |" * len(HEADS) + " --- |",
    ]
    for name in RATIOS:
        for figure in figures:
            of = metric(f"ratio {name}", figure)
            values = [mean_of(chosen(results, pooler=head), of) for head in HEADS]
            rows.append(f"| {name} | {figure} | {' | '.join(map(_number, values))} | {_gain(results, of, values)} |")
    return "\n".join(rows)


def _gain(results: Sequence[Result], of: Metric, values: Sequence[float]) -> str:
    found = [value for value in values if not math.isnan(value) and value > 0]
    return str(difference_of(paired(results, COMPARISONS[0].one, COMPARISONS[0].other, of))) if found else "-"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"


def _sets(results: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(result["set"] for result in results))
