"""Writes docs/recording.md from the table that the tests go through: ``python -m tests.torch.recording.page``."""

from __future__ import annotations

from tests.tables.paths import DOCS
from tests.torch.recording.limits import LIMITS, limit_of
from tests.torch.recording.models import GROUPS
from tests.torch.recording.ways import WAYS

PAGE = DOCS / "recording.md"

HEAD = """# Recording a program

PyTorch has many ways to write a program down, or to run it otherwise than as it stands. This page says which of them
take which operator. The tests go through every cell: a program is recorded with one input, called with another (another
height and width of the map, another number of RoIs), and compared with the model itself; or its error is caught and
compared with the one below. The page is written from that table, by `python -m tests.torch.recording.page`.
"""

#: Each column: what is done, in a line.
COLUMNS = {
    "eager": "the model as it stands, which all others are compared with; here with maps and rows in other strides",
    "torch.compile": "`torch.compile(model, fullgraph=True, dynamic=True)` by `aot_eager`: no graph breaks",
    "inductor": "the same with torch's default backend",
    "torch.export": "`torch.export.export(model, ..., dynamic_shapes=...)` with any height, width and number of RoIs",
    "AOTInductor": "that program, compiled to a package by `torch._inductor.aoti_compile_and_package`",
    "make_fx": '`make_fx(model, tracing_mode="symbolic")`',
    "fake tensors": "`FakeTensorMode`: shape, strides and dtype of the answer, and the backward pass",
    "meta tensors": "tensors of the device `meta`: shape, strides and dtype",
    "torch.fx": "`torch.fx.symbolic_trace(model)`: one node for every call of an operator",
    "torch.jit.trace": "`torch.jit.trace(model, ...)`, saved and loaded; forward, and the gradient of the features",
    "ONNX": "`torch.onnx.export(model, ..., dynamo=True)`, run by onnxruntime; standard operators only",
    "ONNX, dynamo=False": "the exporter that stands on `torch.jit.trace`, run by onnxruntime",
    "torch.vmap": "a batch of maps and of rows",
    "torch.func.jvp": "forward mode, along a direction of maps and boxes",
    "CUDA graphs": "CUDA tensors without values (fake ones): no call may read a value or copy one to the device",
}

SCRIPT = """## TorchScript

`torch.jit.script` of a model that holds one of our modules raises a `NotImplementedError` that says what to do: record
the model by `torch.jit.trace`, `torch.export` or `torch.compile`; or keep torchvision's module in it, script that, and
let `roialign.compat.torchvision.install()` compute it.

A function that `torch.jit.trace` recorded answers any number of RoIs and any size of map, and autograd goes through it.
A gradient function such as `roi_align_backward` within one is a `NotImplementedError`, since the size of its answer
would be recorded as a constant. Give `torch.onnx.export` the module rather than a traced program. A saved program calls
the operators by name: a Python process loads it after `import roialign.torch`.

## Quantised tensors

They are a `TypeError` that asks for `features.dequantize()`. torchvision's `roi_align` has a kernel for quantised maps;
after `roialign.compat.torchvision.install()` it answers as that does, in the quantisation of the map.
"""


def render() -> str:
    lines = [HEAD, "| column | what is done |", "| --- | --- |"]
    lines += [f"| {way} | {COLUMNS[way]} |" for way in WAYS]
    for group, members in GROUPS.items():
        lines += ["", f"## `{group}`", "", "| | " + " | ".join(WAYS) + " |", "| --- |" + " --- |" * len(WAYS)]
        for name in members:
            numbers = [limit_of(way, (group, name)) for way in WAYS]
            cells = ["yes" if number is None else f"[{number + 1}](#errors)" for number in numbers]
            lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    lines += ["", "## Errors", ""]
    lines += [f"{number}. {limit.advice}" for number, limit in enumerate(LIMITS, start=1)]
    return "\n".join(lines) + "\n\n" + SCRIPT


if __name__ == "__main__":
    PAGE.write_text(render())
