"""The files of external data that ONNX models name, and how they enter the fingerprint of a job."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf.descriptor import Descriptor
from onnx import TensorProto, helper, numpy_helper

from roialign.features import BackboneOptions
from roialign.features.backbone import file_hash
from roialign.features.backbones import make_backbone
from roialign.features.onnx_files import FIELDS, external_files


def save(path: Path, location: str | None, *, seed: int = 0) -> Path:
    """Save a model of stride 8, with its weights in the file `location` beside it, if there is one."""
    weights = np.random.default_rng(seed).standard_normal((4, 3, 8, 8)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["images", "weights"], ["maps"], strides=[8, 8])],
        "model",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["N", 4, "h", "w"])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if location is None:
        onnx.save(model, path)
    else:
        (path.parent / location).unlink(missing_ok=True)  # onnx would append to it
        onnx.save(model, path, save_as_external_data=True, location=location, size_threshold=0)
    return path


def fact(path: Path) -> object:
    return make_backbone(f"onnx:{path}", BackboneOptions()).facts()["file"]


@pytest.mark.parametrize("location", ["model.onnx.data", "model.onnx_data", "weights.bin", "ä" * 90 + ".bin"])
def test_changed_weights_change_the_fingerprint(location: str, tmp_path: Path) -> None:
    path = save(tmp_path / "model.onnx", location)
    before, model = fact(path), path.read_bytes()
    assert external_files(path) == [tmp_path / location]
    save(path, location, seed=1)
    assert fact(path) != before
    path.write_bytes(model)  # only the weights have changed
    assert fact(path) != before
    save(path, location)
    assert fact(path) == before


def test_fingerprints_of_earlier_versions_stay(tmp_path: Path) -> None:
    path = save(tmp_path / "whole.onnx", None)
    assert external_files(path) == []
    assert fact(path) == file_hash(path)
    path = save(tmp_path / "divided.onnx", "divided.onnx.data")
    assert fact(path) == file_hash(path, tmp_path / "divided.onnx.data")


def test_all_files_are_found_also_those_of_branches(tmp_path: Path) -> None:
    def constant(name: str) -> onnx.NodeProto:
        return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.ones(99), name))

    branch = helper.make_graph([constant("inner")], "branch", [], [])
    nodes = [constant("outer"), helper.make_node("If", ["chosen"], [], then_branch=branch, else_branch=branch)]
    graph = helper.make_graph(nodes, "model", [], [], [numpy_helper.from_array(np.ones(3), "weights")])
    path, names = tmp_path / "model.onnx", ["inner", "outer", "weights"]
    settings = {"all_tensors_to_one_file": False, "size_threshold": 0, "convert_attribute": True}
    onnx.save(helper.make_model(graph), path, save_as_external_data=True, **settings)
    assert external_files(path) == [tmp_path / name for name in names]
    (tmp_path / "outer").unlink()
    assert external_files(path) == [tmp_path / "inner", tmp_path / "weights"]


def test_every_place_of_a_tensor_is_searched() -> None:
    """The table is that of the package onnx: all fields through which external data can be reached."""
    messages: dict[str, Descriptor] = {}

    def collect(message: Descriptor) -> None:
        if message.name not in messages:
            messages[message.name] = message
            for field in message.fields:
                if field.message_type is not None:
                    collect(field.message_type)

    collect(onnx.ModelProto.DESCRIPTOR)
    leading = {"TensorProto"}
    while True:
        more = {
            name
            for name, message in messages.items()
            if any(field.message_type is not None and field.message_type.name in leading for field in message.fields)
        }
        if more <= leading:
            break
        leading |= more
    expected = {
        name: {
            field.number: field.message_type.name
            for field in messages[name].fields
            if field.message_type is not None and (field.message_type.name in leading or field.name == "external_data")
        }
        for name in leading
    }
    assert expected == FIELDS


def test_files_that_are_no_models_name_no_files(tmp_path: Path) -> None:
    whole = save(tmp_path / "model.onnx", "weights.bin").read_bytes()
    path = tmp_path / "damaged.onnx"
    for content in (b"", b"text", b"\xff" * 100, *(whole[:length] for length in range(0, len(whole), 7))):
        path.write_bytes(content)
        assert external_files(path) in ([], [tmp_path / "weights.bin"])
