"""Checkpoints as scripts save them and as broken downloads leave them, all of one small detector."""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import struct
import zipfile
from functools import cache
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from roialign.detection import DetectorSettings

#: Of the sets of tests.files.sets.
SETTINGS = DetectorSettings(
    "mask-rcnn",
    "resnet18-fpn",
    classes=("cat", "dog"),
    width=4,
    out_channels=8,
    hidden=16,
    mask_hidden=4,
    min_size=48,
    max_size=96,
    proposals={"before_nms": (50, 50), "after_nms": (40, 40)},
    regions={"score_threshold": 0.0, "detections": 5},
)


@cache
def weights() -> dict[str, Tensor]:
    """Those of the small detector."""
    torch.manual_seed(0)
    return SETTINGS.build().state_dict()


def saved(content: Any, **more: Any) -> bytes:
    """What `torch.save` makes of it."""
    file = io.BytesIO()
    torch.save(content, file, **more)
    return file.getvalue()


def own(model: Any, **more: Any) -> dict[str, Any]:
    """A file of a detector with its settings."""
    return {"settings": SETTINGS.to_dict(), "model": model, **more}


def prefixed(prefix: str) -> dict[str, Tensor]:
    """The weights under the names that a wrapper gives them."""
    return {f"{prefix}{name}": value for name, value in weights().items()}


@cache
def readable() -> dict[str, bytes]:
    """Files that hold the detector."""
    options = argparse.Namespace(lr=0.1, data="coco", layers=[1, 2])
    split = {
        (name if index % 2 else name.replace("backbone.", "backbone._orig_mod.")): value
        for index, (name, value) in enumerate(weights().items())
    }
    return {
        "its own": saved(own(weights())),
        "options of a script": saved(own(weights(), args=options, epoch=3)),
        "options in the older format": saved(own(weights(), args=options), _use_new_zipfile_serialization=False),
        "state_dict inside": saved({**own(None), "model": {"state_dict": weights()}}),
        "model_state_dict inside": saved({"settings": SETTINGS.to_dict(), "model_state_dict": weights()}),
        "of several processes": saved(own(prefixed("module."))),
        "compiled": saved(own(prefixed("_orig_mod."))),
        "compiled, of several processes": saved(own(prefixed("module._orig_mod."))),
        "compiled in part": saved(own(split)),
        "of Lightning": saved(own(prefixed("model."))),
        "an average": saved(own({"n_averaged": torch.tensor(7), **prefixed("module.")})),
        "half precision": saved(own({name: value.half() if value.is_floating_point() else value
                                     for name, value in weights().items()})),
    }  # fmt: skip


def with_a_changed_byte(content: bytes) -> bytes:
    """An archive of weights, one byte of the largest tensor of which is another."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size)
    changed = bytearray(content)
    changed[largest.header_offset + largest.file_size // 2] ^= 1
    return bytes(changed)


def _safetensors() -> bytes:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4)


def _archive(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_pkl", ".pkl").replace("_npy", ".npy"), content)
    return file.getvalue()


SAVE = r"write the weights with torch\.save\(model\.state_dict\(\), 'weights\.pt'\)"


@cache
def unreadable() -> dict[str, tuple[bytes, str]]:
    """Files that hold none, and what is said of them."""
    good, first = readable()["its own"], next(iter(weights()))
    older = saved(own(weights()), _use_new_zipfile_serialization=False)
    diverged = {**weights(), first: torch.full_like(weights()[first], float("nan"))}
    other = {**weights(), first: torch.zeros(1, 2, 3, 4)}

    def one(value: Tensor) -> bytes:
        return saved(own({**weights(), first: value}))

    shape = weights()[first].shape
    huge = {"settings": {**SETTINGS.to_dict(), "width": 2**40}, "model": weights()}
    return {
        "nothing": (b"", "an empty file"),
        "a page": (b"<!DOCTYPE html><html>Sign in</html>", "an HTML page, not the file itself"),
        "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid 0\n", "a Git LFS pointer"),
        "text": (b"weights", f"a text file that torch.save did not write: {SAVE}"),
        "a log": (b"iteration,loss\n1,2.5\n2,2.25\n", f": a text file that torch.save did not write: {SAVE}"),
        "names of classes": (b"cat\ndog\nwolf\n", f": a text file that torch.save did not write: {SAVE}"),
        "bytes of nothing": (bytes(range(1, 256)), f": a file that torch.save did not write: {SAVE}"),
        "cut short": (good[: len(good) // 2], "cut short or damaged: its table of contents is missing"),
        "cut short, older": (older[: len(older) // 2], "damaged or cut short"),
        "the head of an older one": (older[:30], "damaged or cut short"),
        "a changed byte": (with_a_changed_byte(good), r"damaged: the checksum of \S+ is wrong; copy"),
        "safetensors": (_safetensors(), "a safetensors file: convert it with"),
        "arrays of NumPy": (_archive(a_npy=b""), f"a zip archive of NumPy arrays: {SAVE}"),
        "a document": (_archive(word__document=b""), "a zip archive that torch.save did not write"),
        "TorchScript": (_archive(m__constants_pkl=b"", m__data_pkl=b""), f"a TorchScript program, not weights: {SAVE}"),
        "an HDF5 file": (b"\x89HDF\r\n\x1a\n" + bytes(99), "an HDF5 file, such as Keras writes"),
        "an image": (b"\x89PNG\r\n\x1a\n" + bytes(99), "a PNG image"),
        "a pickle": (pickle.dumps([1, 2], protocol=2), "a pickle that torch.save did not write"),
        "a pickle of arrays": (pickle.dumps({"a": np.zeros(3)}, protocol=2), "it contains numpy"),
        "a pickle of a program": (pickle.dumps(os.system, protocol=2), r"it contains \w+\.system besides weights"),
        "a program of another protocol": (
            saved({"a": os.system}, pickle_protocol=4), r"it contains \w+\.system besides weights, which cannot"
        ),
        "another protocol": (saved(own(weights()), pickle_protocol=4), "pickled with protocol 4, which cannot be read"),
        "our model with its code": (
            saved(SETTINGS.build()), r"a pickled model, roialign\.detection\.\S+, not weights: .*\.save_model"
        ),
        "our weights alone": (
            saved(weights()), r"got only the weights of a roialign detector; .*\.save_model\(path, "
        ),
        "a whole model": (saved(nn.Linear(2, 2)), f"a pickled model, torch.nn.modules.linear.Linear, .* {SAVE}"),
        "a path besides": (saved(own(weights(), at=PurePosixPath("a"))), "it contains pathlib.PurePosixPath besides"),
        "a number of NumPy": (saved(own(weights(), best=np.float64(3))), r"it contains numpy\.\S+ besides weights"),
        "a list": (saved([1, 2]), "expected weights by name, found a list"),
        "numbers": (saved({"a": 1}), "expected weights by name, but 'a' is 1"),
        "names of numbers": (saved({1: torch.zeros(1)}), "expected weights by name, but 1 is a Tensor"),
        "of nobody": (saved({"a": torch.zeros(1)}), "got weights without roi_heads.box_predictor"),
        "of detectron2": (saved({"model": {"backbone.bottom_up.a": torch.zeros(1)}}), "got the weights of detectron2"),
        "of a classifier": (saved({"layer1.0.conv1.weight": torch.zeros(1)}), "a ResNet that classifies images"),
        "to go on training from": (
            saved({"iteration": 3, "model": weights(), "optimiser": {}, "scaler": {}}),
            "expected a model file, got a training checkpoint; use model.pt in the same folder",
        ),
        "diverged": (saved(own(diverged)), f"{first}: expected finite weights, got NaN or infinity"),
        "too few": (saved(own({first: weights()[first]})), r"the weights do not fit .*: \d+ weights missing \("),
        "complex": (one(torch.zeros(shape, dtype=torch.complex64)), "expected a dense tensor of floats"),
        "of eight bits": (one(torch.zeros(shape).to(torch.float8_e4m3fn)), "expected a dense tensor of floats"),
        "without values": (one(torch.zeros(shape, device="meta")), "dense tensor .* got one without values"),
        "sparse": (one(torch.zeros(shape).to_sparse()), "expected a dense tensor of floats"),
        "of another shape": (saved(own(other)), rf"1 weight of the wrong shape \({first}, \[1, 2, 3, 4\] instead of"),
        "settings of a list": (saved({"settings": [], "model": weights()}), "settings: expected a dict, got"),
        "settings of another": (saved({"settings": {"a": 1}, "model": weights()}), "settings: expected names among"),
        "settings beyond memory": (saved(huge), "of the wrong shape|cannot be loaded"),
        "no classes": (saved({"settings": {}, "model": weights()}), "classes: expected at least one name, got none"),
        "a pooler that is none": (
            saved({"settings": {**SETTINGS.to_dict(), "pooler": 3}, "model": weights()}), "pooler: expected text, got 3"
        ),
    }  # fmt: skip
