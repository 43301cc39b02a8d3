"""Writes docs/recording.md from the table that the tests go through: ``python -m tests.torch.recording.page``."""

from __future__ import annotations

from tests.tables.paths import DOCS
from tests.torch.recording.limits import LIMITS, limit_of
from tests.torch.recording.models import GROUPS
from tests.torch.recording.ways import WAYS

PAGE = DOCS / "recording.md"

HEAD = """# Recording a program

PyTorch has many ways to record a program, or to run it in another way than eagerly. This page lists which of them
support which operator. The tests check every cell. They record a program with one input, call it with another input (a
map of another size, another number of RoIs), and compare the result with that of the model in eager mode. If the way is
not supported, they check that the error is the one below. `python -m tests.torch.recording.page` writes this page.
"""

#: What each column tests.
COLUMNS = {
    "eager": "the model in eager mode, with maps and rows in other strides; all other columns are compared with it",
    "torch.compile": "`torch.compile(model, fullgraph=True, dynamic=True)` with `aot_eager`: no graph breaks",
    "inductor": "the same with torch's default backend",
    "torch.export": "`torch.export.export(model, ..., dynamic_shapes=...)` with any height, width and number of RoIs",
    "AOTInductor": "the exported program, compiled to a package by `torch._inductor.aoti_compile_and_package`",
    "make_fx": '`make_fx(model, tracing_mode="symbolic")`',
    "fake tensors": "`FakeTensorMode`: shape, strides and dtype of the result, and the backward pass",
    "meta tensors": "tensors on the device `meta`: shape, strides and dtype of the result",
    "torch.fx": "`torch.fx.symbolic_trace(model)`: one node per call of an operator",
    "torch.jit.trace": "`torch.jit.trace(model, ...)`, saved and loaded: forward, and the gradient to the features",
    "ONNX": "`torch.onnx.export(model, ..., dynamo=True)`, run by onnxruntime; standard operators only",
    "ONNX, dynamo=False": "the older exporter, which uses `torch.jit.trace`, run by onnxruntime",
    "torch.vmap": "a batch of maps and rows",
    "torch.func.jvp": "forward mode, with tangents of the maps and the boxes",
    "CUDA graphs": "fake CUDA tensors, which have no values: no call may read a value or copy one to the device",
}

SCRIPT = """## TorchScript

`torch.jit.script` cannot compile a model that contains a module of `roialign`. It raises a `NotImplementedError` that
says what to do instead: record the model with `torch.jit.trace`, `torch.export` or `torch.compile`. Or keep
torchvision's module in the model, script the model, and call `roialign.compat.torchvision.install()`, which replaces
torchvision's kernels.

A function that was recorded by `torch.jit.trace` accepts any number of RoIs and maps of any size, and supports
autograd. It cannot contain a gradient function such as `roi_align_backward`, because the size of the result would be
recorded as a constant; this raises a `NotImplementedError`. Pass the module to `torch.onnx.export`, not a traced
program. A saved program calls the operators by name, so `import roialign.torch` in the Python process before you load
it.

## Quantised tensors

Quantised tensors raise a `TypeError` that recommends `features.dequantize()`. torchvision's `roi_align` accepts
quantised maps. It still does after `roialign.compat.torchvision.install()`, and its result has the quantisation of the
map.
"""


def render() -> str:
    lines = [HEAD, "| column | what is tested |", "| --- | --- |"]
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
