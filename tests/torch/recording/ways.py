"""Every way that torch has to record a program, or to run it otherwise than as it stands.

A way takes a model and what it is recorded with, and gives a function of other inputs: what the program answers, and
what it should answer.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnxruntime
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.overrides import TorchFunctionMode

from tests.torch.recording.models import OTHER, RECORDED

DYNAMIC = torch.export.Dim.DYNAMIC
SHAPES = ({2: DYNAMIC, 3: DYNAMIC}, {0: DYNAMIC})
Pair = tuple[Any, Any]


def eager(model: nn.Module) -> Pair:
    """As it stands, with memory in another order: what all the others are compared with."""
    features, rows = OTHER
    return model(features.mT.contiguous().mT, rows.T.contiguous().T), model(features, rows)


def compiled(model: nn.Module, backend: str) -> Pair:
    torch._dynamo.reset()
    program = torch.compile(model, fullgraph=True, dynamic=True, backend=backend)
    program(*RECORDED)
    return program(*OTHER), model(*OTHER)


def exported(model: nn.Module) -> Pair:
    program = torch.export.export(model, RECORDED, dynamic_shapes=SHAPES)
    return program.module()(*OTHER), model(*OTHER)


def ahead_of_time(model: nn.Module) -> Pair:
    program = torch.export.export(model, RECORDED, dynamic_shapes=SHAPES)
    options = {"aot_inductor.compile_wrapper_opt_level": "O0", "aot_inductor.precompile_headers": False}
    with TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.pt2")
        package = torch._inductor.aoti_compile_and_package(program, package_path=path, inductor_configs=options)
        return torch._inductor.aoti_load_package(package)(*OTHER), model(*OTHER)


def made_fx(model: nn.Module) -> Pair:
    graph = make_fx(model, tracing_mode="symbolic", _allow_non_fake_inputs=True)(*RECORDED)
    return graph(*OTHER), model(*OTHER)


def outline_of(tensor: Tensor) -> tuple[Any, ...]:
    return tuple(tensor.shape), tensor.stride(), str(tensor.dtype)


def fake(model: nn.Module) -> Pair:
    """Shapes only, forward and backward."""
    weights = dict(model.named_parameters())
    with FakeTensorMode(shape_env=ShapeEnv()):
        given = [torch.empty(tensor.shape, requires_grad=True) for tensor in OTHER]
        like = {name: torch.empty(one.shape) for name, one in weights.items()}
        answer = torch.func.functional_call(model, like, tuple(given))
        gradients = torch.autograd.grad(answer.sum(), given, allow_unused=True)
    assert all(gradient is None or gradient.shape == one.shape for gradient, one in zip(gradients, OTHER, strict=True))
    return outline_of(answer), outline_of(model(*OTHER))


class _Indexing(TorchFunctionMode):
    """``tensor[...]`` by operators: Python's own asks a CUDA build for the device, be the tensor fake."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.nonzero:
            raise DynamicOutputShapeException(function)
        if function is not Tensor.__getitem__:
            return function(*args, **(kwargs or {}))
        tensor, keys = args
        axis = 0
        for key in keys if isinstance(keys, tuple) else (keys,):
            if isinstance(key, int):
                tensor = tensor.select(axis, key)
                continue
            if isinstance(key, slice):
                tensor = torch.ops.aten.slice(tensor, axis, key.start, key.stop, key.step or 1)
            elif key is None:
                tensor = tensor.unsqueeze(axis)
            else:
                assert isinstance(key, Tensor), "a list is copied to the device, which a CUDA graph cannot record"
                tensor = torch.ops.aten.index(tensor, [*[None] * axis, key])
            axis += 1
        return tensor


def in_cuda_graph(model: nn.Module) -> Pair:
    """With tensors of a CUDA device that have no values: whoever looks at one fails here, and in a CUDA graph.

    Forward only: torch's autograd wants a CUDA build for tensors of that device, be they fake.
    """
    weights = dict(model.named_parameters())
    with FakeTensorMode(), torch.no_grad(), _Indexing():
        like = {name: torch.empty(one.shape, device="cuda") for name, one in weights.items()}
        given = tuple(torch.empty(tensor.shape, device="cuda") for tensor in OTHER)
        answer = torch.func.functional_call(model, like, given)
    assert answer.device.type == "cuda"
    return outline_of(answer), outline_of(model(*OTHER))


def meta(model: nn.Module) -> Pair:
    expected = outline_of(model(*OTHER))
    return outline_of(model.to("meta")(*[tensor.to("meta") for tensor in OTHER])), expected


def symbolic(model: nn.Module) -> Pair:
    graph = torch.fx.symbolic_trace(model)
    graph(*RECORDED)
    return graph(*OTHER), model(*OTHER)


def traced(model: nn.Module) -> Pair:
    program = torch.jit.trace(model, (RECORDED[0].requires_grad_(), RECORDED[1]))
    RECORDED[0].requires_grad_(False)
    buffer = io.BytesIO()
    torch.jit.save(program, buffer)
    buffer.seek(0)
    loaded = torch.jit.load(buffer)
    answers = []
    for function in (loaded, model):
        features = OTHER[0].clone().requires_grad_()
        answer = function(features, OTHER[1])
        answers.append([answer, *torch.autograd.grad(answer.square().sum(), features)])
    return answers[0], answers[1]


def in_onnxruntime(proto: bytes) -> list[Tensor]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto, options)
    feeds = {one.name: tensor.numpy() for one, tensor in zip(session.get_inputs(), OTHER, strict=True)}
    return [torch.from_numpy(answer) for answer in session.run(None, feeds)]


def onnx(model: nn.Module) -> Pair:
    program = torch.onnx.export(model, RECORDED, dynamic_shapes=SHAPES, dynamo=True, verbose=False)
    assert program is not None
    assert {node.domain for node in program.model.graph.all_nodes()} == {""}
    return in_onnxruntime(program.model_proto.SerializeToString()), [model(*OTHER)]


def onnx_by_tracing(model: nn.Module) -> Pair:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You are using the legacy TorchScript-based ONNX export", DeprecationWarning)
        torch.onnx.export(
            model,
            RECORDED,
            buffer,
            dynamo=False,
            input_names=["features", "rows"],
            dynamic_axes={"features": {2: "height", 3: "width"}, "rows": {0: "count"}},
        )
    return in_onnxruntime(buffer.getvalue()), [model(*OTHER)]


def vmapped(model: nn.Module) -> Pair:
    features, rows = (torch.stack([tensor, 0.9 * tensor]) for tensor in OTHER)
    rows[:, :, 0] = OTHER[1][:, 0]
    return torch.vmap(model)(features, rows), torch.stack([model(*pair) for pair in zip(features, rows, strict=True)])


def forward_mode(model: nn.Module) -> Pair:
    """The directional derivative along a tangent, beside the product of the tangent and the gradients."""
    given = tuple(tensor.double() for tensor in OTHER)
    generator = torch.Generator().manual_seed(1)
    tangents = tuple(torch.randn(one.shape, dtype=one.dtype, generator=generator) for one in given)
    tangents[1][:, 0] = 0
    answer, slope = torch.func.jvp(model.double(), given, tangents)
    weights = torch.randn(answer.shape, dtype=answer.dtype, generator=generator)
    leaves = [tensor.clone().requires_grad_() for tensor in given]
    gradients = torch.autograd.grad((model(*leaves) * weights).sum(), leaves, allow_unused=True)
    products = [(one * along).sum() for one, along in zip(gradients, tangents, strict=True) if one is not None]
    return (slope * weights).sum(), torch.stack(products).sum()


#: By the name of the column. The slow ones take seconds a model.
WAYS: dict[str, Callable[[nn.Module], Pair]] = {
    "eager": eager,
    "torch.compile": lambda model: compiled(model, "aot_eager"),
    "inductor": lambda model: compiled(model, "inductor"),
    "torch.export": exported,
    "AOTInductor": ahead_of_time,
    "make_fx": made_fx,
    "fake tensors": fake,
    "meta tensors": meta,
    "torch.fx": symbolic,
    "torch.jit.trace": traced,
    "ONNX": onnx,
    "ONNX, dynamo=False": onnx_by_tracing,
    "torch.vmap": vmapped,
    "torch.func.jvp": forward_mode,
    "CUDA graphs": in_cuda_graph,
}
SLOW = ("torch.compile", "inductor", "AOTInductor", "ONNX")
