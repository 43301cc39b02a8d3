"""Non-maximum suppression of rotated boxes."""

from __future__ import annotations

from .._docstrings import parameters_of
from .._frameworks import framework_of
from .._recording import recordable
from .._rotated_boxes import check_threshold, checked_comparison
from .._typing import AnyArray, Backend
from .rotated_iou import rotated_iou


@recordable
@parameters_of(rotated_iou)
def rotated_nms(
    boxes: AnyArray,
    scores: AnyArray,
    threshold: float,
    groups: AnyArray | None = None,
    *,
    clockwise: bool = False,
    backend: Backend | None = None,
) -> AnyArray:
    """Non-maximum suppression of rotated boxes, within each group.

    Concretely, the boxes are visited from the best score to the worst. A box is kept unless its intersection over union
    with a box that is already kept, of the same group, is more than `threshold`. If scores are equal, the earlier box
    is visited first. The overlaps are those of :func:`rotated_iou`, and are not stored: the memory grows with the
    number of boxes, not with its square.

    Parameters
    ----------
    boxes : as in :func:`rotated_iou`
    scores : array ``[L]``
        One real number per box, not NaN.
    threshold : float
        The largest intersection over union of two boxes that are both kept, from 0 to 1.
    groups : array ``[L]`` of integers, optional
        The group of each box, such as its class or its image. Boxes of different groups never suppress each other. By
        default, all boxes are in one group.
    clockwise, backend : as in :func:`rotated_iou`

    Returns
    -------
    int64 array ``[K]``
        The indices of the boxes that are kept, best score first. The boxes of a CUDA device are copied to the CPU and
        compared there; the shape of the result depends on its values, so the CPU would have to wait for it anyway.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, if a box is not finite or has a negative width or height, or if a score is NaN. The
        message names the argument and the row.

    Examples
    --------
    The second box is the first one turned by a little. It is only kept in a group of its own:

    >>> import numpy as np
    >>> import roialign
    >>> boxes = np.array([[9.0, 9.0, 8.0, 4.0, 0.0], [9.0, 9.0, 8.0, 4.0, 0.1], [9.0, 9.0, 8.0, 4.0, 1.57]])
    >>> scores = np.array([0.7, 0.9, 0.8])
    >>> roialign.rotated_nms(boxes, scores, 0.5)
    array([1, 2])
    >>> roialign.rotated_nms(boxes, scores, 0.5, np.array([0, 1, 0]))
    array([1, 2, 0])

    References
    ----------
    Ma et al., "Arbitrary-Oriented Scene Text Detection via Rotation Proposals", IEEE TMM 2018,
    https://arxiv.org/abs/1703.01086 (as `nms_rotated` in detectron2 and mmcv)
    """
    limit, comparison = check_threshold(threshold), checked_comparison(clockwise=clockwise, backend=backend)
    kept: AnyArray = framework_of(boxes, scores).overlaps.rotated_nms(boxes, scores, limit, groups, comparison)
    return kept
