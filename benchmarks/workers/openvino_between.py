"""OpenVINO between two convolutions: ROIAlign in the layout that its neighbours choose, with only its node timed.

The first convolution copies each of 8 input channels to several map channels. The last one takes the mean of the
channels with the same source. The result is therefore the operator's on the first 8 channels, and depends on every
channel of every bin. The time of the node comes from OpenVINO's own profile, whose parts add up to the whole.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
from openvino import opset9

from .openvino_plain import bind, compile_model, make_parameters, pool
from .openvino_plain import versions as versions
from .work import Array, Inputs, Part, Work

#: Number of input and output channels of the graph.
CHANNELS = 8
NODE = "roi_align"


def prepare(inputs: Inputs) -> Work:
    maps = inputs.maps("NCHW", "float32")
    calls = [_Call(inputs, maps[part.level], part) for part in inputs.parts()]

    def run() -> None:
        for call in calls:
            call.request.infer()
            call.count += 1

    def answer() -> list[Array]:
        run()
        pooled = [(call.part, call.request.get_output_tensor().data.copy()) for call in calls]
        return [inputs.in_order(pooled)]

    def own_seconds(count: int) -> float:
        return sum(call.node_seconds(count) for call in calls)

    layouts = sorted({call.layout for call in calls})
    return Work(run, answer, own_seconds=own_seconds, details={"layout": ", ".join(layouts)})


class _Call:
    """The compiled graph of one level."""

    def __init__(self, inputs: Inputs, features: Array, part: Part) -> None:
        self.part, self.count = part, 0
        self.before = (0, 0.0)  # calls and seconds of the node at the last reading of the profile
        few = np.ascontiguousarray(features[:, :CHANNELS])
        parameters = make_parameters(few.shape, len(part.rows))
        spread, gather = _weights(features.shape[1])
        pooled = pool(_convolve(parameters[0], spread), parameters, inputs, part.scale)
        pooled.set_friendly_name(NODE)
        model = openvino.Model([_convolve(pooled, gather)], parameters)
        compiled = compile_model(model, inputs, PERF_COUNT=True)
        nodes = {node.get_friendly_name(): node for node in compiled.get_runtime_model().get_ordered_ops()}
        self.layout = str(nodes[NODE].get_rt_info()["outputLayouts"].astype(str))
        self.request = compiled.create_infer_request()
        self.inputs = bind(self.request, few, part)

    def node_seconds(self, count: int) -> float:
        """Return the seconds of the node in the last `count` calls.

        OpenVINO reports the mean of all calls so far in whole microseconds. If this rounding is visible in the
        difference to the last reading, the mean itself is used.
        """
        node = next(node for node in self.request.profiling_info if node.node_name == NODE)
        mean = float(node.real_time.total_seconds())
        total = mean * self.count
        calls, seconds = self.before
        self.before = (self.count, total)
        rounding = 1e-6 * (self.count + calls) / count
        return mean if rounding > 0.02 * mean or self.count - calls > 2 * count else (total - seconds) / count


def _weights(channels: int) -> tuple[Array, Array]:
    """Return 1 x 1 kernels: map channel c is input channel c mod 8; output channel j is the mean of the channels from
    j."""
    source = np.arange(channels) % CHANNELS
    spread = np.zeros((channels, CHANNELS, 1, 1), dtype=np.float32)
    spread[np.arange(channels), source] = 1
    gather = spread.transpose(1, 0, 2, 3) / np.bincount(source, minlength=CHANNELS)[:, None, None, None]
    return spread, np.ascontiguousarray(gather, dtype=np.float32)


def _convolve(node: Any, kernel: Array) -> Any:
    return opset9.convolution(node, opset9.constant(kernel), [1, 1], [0, 0], [0, 0], [1, 1])
