"""ONNX models of unusual inputs and outputs: one fixed side, sequences, two maps of one stride."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import NodeProto, TensorProto, helper, save
from torch.export import Dim

from roialign.features import BackboneError, BackboneOptions, make_backbone
from tests.features.networks import TwoLevels, all_maps, random_images


def _pool(name: str, stride: int) -> NodeProto:
    return helper.make_node("AveragePool", ["images"], [name], kernel_shape=[stride] * 2, strides=[stride] * 2)


def _model(
    path: Path, nodes: list[NodeProto], outputs: list[str], size: tuple[int | str, int | str] = ("H", "W")
) -> str:
    """Save a model. An output called `list` is a sequence of maps. Return the name of its backbone."""
    of_map = helper.make_tensor_type_proto(TensorProto.FLOAT, ["N", 3, "h", "w"])
    kinds = {name: helper.make_sequence_type_proto(of_map) if name == "list" else of_map for name in outputs}
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, *size])],
        [helper.make_value_info(name, kind) for name, kind in kinds.items()],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return f"onnx:{path}"


@pytest.mark.parametrize(
    ("size", "given", "expected"),
    [((48, "W"), (48, 80), "48xWIDTH"), (("H", 80), (48, 80), "HEIGHTx80")],
)
def test_a_model_with_one_fixed_side_needs_the_other(
    size: tuple[int | str, int | str], given: tuple[int, int], expected: str, tmp_path: Path
) -> None:
    name = _model(tmp_path / "a.onnx", [_pool("map", 16)], ["map"], size)
    backbone = make_backbone(name, BackboneOptions(image_size=given))
    assert backbone.image_size.of(1000, 10) == given
    assert all_maps(backbone, random_images(*given))[0].shape == (2, 3, 3, 5)
    for other in (None, 48, 80, (32, 64)):
        why = (
            f"image-size: expected {expected} for {name!r}, got {other}, because one side of its images is fixed; give"
        )
        with pytest.raises(ValueError, match=re.escape(f"{why} --image-size {expected}")):
            make_backbone(name, BackboneOptions(image_size=other))


def test_a_program_with_one_fixed_side_needs_the_other(tmp_path: Path) -> None:
    path = tmp_path / "a.pt2"
    free = ({0: Dim.DYNAMIC, 3: Dim.DYNAMIC},)
    torch.export.save(torch.export.export(TwoLevels().eval(), (torch.zeros(2, 3, 64, 96),), dynamic_shapes=free), path)
    assert make_backbone(f"program:{path}", BackboneOptions(image_size=(64, 32))).strides == (8, 16)
    with pytest.raises(ValueError, match=r"^image-size: expected 64xWIDTH for .*; give --image-size 64xWIDTH$"):
        make_backbone(f"program:{path}")


def test_an_output_that_is_a_sequence_is_no_map(tmp_path: Path) -> None:
    nodes = [_pool("map", 16), helper.make_node("SequenceConstruct", ["map"], ["list"])]
    backbone = make_backbone(_model(tmp_path / "a.onnx", nodes, ["list", "map"]))
    assert backbone.strides == (16,)
    images = random_images(32, 48)
    expected = backbone.normalisation(images).reshape(2, 3, 2, 16, 3, 16).mean((3, 5))
    np.testing.assert_allclose(all_maps(backbone, images)[0], expected, atol=1e-5)
    why = "backbone: expected a model with an output [N, C, H, W], got list seq(tensor(float)) from 'onnx:"
    with pytest.raises(BackboneError, match=re.escape(why)):
        make_backbone(_model(tmp_path / "b.onnx", nodes, ["list"]))


def test_two_maps_of_one_stride_are_named(tmp_path: Path) -> None:
    nodes = [_pool("one", 16), _pool("fine", 8), helper.make_node("Relu", ["one"], ["other"])]
    why = (
        r"one map of each stride, got outputs 'one', 'other' of strides \[16, 16\] from 'onnx:.*': save the model with"
    )
    with pytest.raises(BackboneError, match=why):
        make_backbone(_model(tmp_path / "a.onnx", nodes, ["one", "fine", "other"]))
    assert make_backbone(_model(tmp_path / "b.onnx", nodes, ["one", "fine"])).strides == (8, 16)
