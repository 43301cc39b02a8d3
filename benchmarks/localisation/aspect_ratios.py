"""Average precision of rotated boxes by the aspect ratio of the objects."""

from __future__ import annotations

import io
import math
from contextlib import redirect_stdout
from typing import Any

from roialign.detection import RotatedDataset
from roialign.detection.average_precision import ROTATED_BOX, Row, coco_evaluation

#: The longer side of an object divided by its shorter side.
RATIOS = {"1 to 2": (1.0, 2.0), "2 to 4": (2.0, 4.0), "4 or more": (4.0, math.inf)}


def by_aspect_ratio(dataset: RotatedDataset, rows: list[Row]) -> dict[str, Any]:
    """Compute COCO's average precision for the objects of each range of :data:`RATIOS`.

    The ranges replace those of COCO's areas. So other objects are ignored, and so are detections that match no object
    and whose own ratio is outside the range.
    """
    evaluation = coco_evaluation(dataset, rows, ROTATED_BOX, dataset.rows, dataset.problems)
    for section in (evaluation.cocoGt, evaluation.cocoDt):
        for row in section.dataset["annotations"]:
            row["area"] = row["rotated_box"][2] / max(row["rotated_box"][3], 1e-6)
    evaluation.params.areaRng, evaluation.params.areaRngLbl = list(map(list, RATIOS.values())), list(RATIOS)
    with redirect_stdout(io.StringIO()):  # COCO's code prints to stdout
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., -1]  # axes: overlap, recall, class, range
    overlaps = [f"{overlap:.2f}" for overlap in evaluation.params.iouThrs]
    return {
        f"ratio {name}": {
            "AP": _mean(precision[..., index]),
            "AP_by_iou": {overlap: _mean(precision[row, ..., index]) for row, overlap in enumerate(overlaps)},
        }
        for index, name in enumerate(RATIOS)
    }


def _mean(values: Any) -> float | None:
    """Return the mean over the classes that have an object in the range, or None if there are none."""
    known = values[values > -1]
    return float(known.mean()) if known.size else None
