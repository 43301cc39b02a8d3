"""Backbones: real weights see what photographs show; files of networks give the maps that the network gives."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from roialign import RoIWarning
from roialign.detection import DetectorSettings, PyramidBackbone, exporting, faster_rcnn, save_model
from roialign.features import Backbone, BackboneError, BackboneOptions, Normalisation, make_backbone
from roialign.features.efficientnet_lite import classifier, weights_path
from roialign.features.tokens import tokens_to_map
from roialign.files.saved_tensors import read_saved_tensors
from tests.features.networks import Tokens, TwoLevels, all_maps, as_array, random_images, save_onnx, save_program
from tests.features.photographs import photograph
from tests.files.checkpoints import with_a_changed_byte


@pytest.fixture(scope="module")
def lite() -> Backbone:
    return make_backbone("efficientnet-lite0", BackboneOptions(image_size=224))


@pytest.mark.parametrize(
    ("name", "among"),
    [
        ("china", {"palace", "bell cote", "monastery", "stupa"}),
        ("flower", {"daisy"}),
        ("cat", {"Egyptian cat", "tiger cat", "tabby"}),
        ("coffee", {"espresso", "cup", "coffee mug"}),
    ],
)
def test_efficientnet_sees_what_a_photograph_shows(name: str, among: set[str], lite: Backbone) -> None:
    """The weights, the order of the layers, the padding and the normalisation: all must be right for this."""
    image = photograph(name)
    height, width = lite.image_size.of(image.height, image.width)
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))[None]
    (head,) = lite.maps(pixels, [3])
    weight, bias, names = classifier()
    logits = weight @ as_array(head)[0].mean((1, 2)) + bias
    assert names[int(np.argmax(logits))] in among


def test_the_maps_of_efficientnet(lite: Backbone) -> None:
    assert (lite.strides, lite.channels) == ((4, 8, 16, 32), (24, 40, 112, 1280))
    shapes = [features.shape for features in all_maps(lite, random_images(224, 256))]
    assert shapes == [(2, 24, 56, 64), (2, 40, 28, 32), (2, 112, 14, 16), (2, 1280, 7, 8)]


def test_one_level_is_what_it_is_beside_others(lite: Backbone) -> None:
    images = random_images(96, 64)
    (alone,) = lite.maps(images, [1])
    np.testing.assert_array_equal(as_array(alone), all_maps(lite, images)[1])


def test_weights_without_torch_are_those_that_torch_reads() -> None:
    own, theirs = read_saved_tensors(weights_path()), torch.load(weights_path(), weights_only=True)
    assert list(own) == list(theirs)
    for name, tensor in theirs.items():
        np.testing.assert_array_equal(own[name], tensor.numpy())


@pytest.mark.parametrize("kind", ["program", "onnx"])
def test_a_file_gives_the_maps_of_its_network(kind: str, tmp_path: Path) -> None:
    network, path = TwoLevels(), tmp_path / ("network.pt2" if kind == "program" else "network.onnx")
    (save_program if kind == "program" else save_onnx)(path, network)
    backbone = make_backbone(f"{kind}:{path}", BackboneOptions(normalise="10,20,30/2,4,8"))
    assert (backbone.strides, backbone.channels) == ((8, 16), (4, 6)), "the finest first, and no vector"
    images = random_images(64, 96)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    normalised = (pixels - torch.tensor([10.0, 20, 30])[:, None, None]) / torch.tensor([2.0, 4, 8])[:, None, None]
    with torch.no_grad():
        coarse, _, fine = network(normalised)
    for found, expected in zip(all_maps(backbone, images), (fine, coarse), strict=True):
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


@pytest.mark.parametrize(("kind", "batch"), [("program", 1), ("program", 3), ("onnx", 3)])
def test_a_network_of_one_size_gets_it(kind: str, batch: int, tmp_path: Path) -> None:
    """Images are stretched to it, and the batch is cut or filled."""
    path = tmp_path / ("network.pt2" if kind == "program" else "network.onnx")
    (save_program if kind == "program" else save_onnx)(path, TwoLevels(), size=(batch, 64, 96))
    backbone = make_backbone(f"{kind}:{path}")
    assert backbone.image_size.of(1000, 10) == (64, 96)
    images = random_images(64, 96, count=4)
    every = all_maps(backbone, images)
    for index in range(4):
        for together, alone in zip(every, all_maps(backbone, images[index : index + 1]), strict=True):
            np.testing.assert_allclose(together[index], alone[0], atol=1e-4)
    with pytest.raises(ValueError, match=r"image-size: expected 64x96 for .*, got \(32, 32\)"):
        make_backbone(f"{kind}:{path}", BackboneOptions(image_size=(32, 32)))


@pytest.mark.parametrize("kind", ["program", "onnx"])
def test_tokens_are_a_map_where_their_prefix_is_said(kind: str, tmp_path: Path) -> None:
    path = tmp_path / ("network.pt2" if kind == "program" else "network.onnx")
    (save_program if kind == "program" else save_onnx)(path, Tokens())
    told = BackboneOptions(prefix_tokens=2, patch_size=16)
    backbone = make_backbone(f"{kind}:{path}", told)
    assert (backbone.strides, backbone.channels) == ((16,), (4,))
    (features,) = all_maps(backbone, random_images(32, 48))
    np.testing.assert_array_equal(features[1, 3], [[0, 1, 2], [3, 4, 5]], "row by row, and without the prefix")
    with pytest.raises(BackboneError, match="tokens \\[N, L, C\\] need --prefix-tokens and --patch-size"):
        make_backbone(f"{kind}:{path}")
    with pytest.raises(
        BackboneError, match=r"^backbone: tokens: expected 1 prefix tokens and 14 x 14 patches, 197 in all, got 198"
    ):
        make_backbone(f"{kind}:{path}", BackboneOptions(prefix_tokens=1, patch_size=16))


def test_a_map_of_tokens_is_a_view() -> None:
    tokens = np.zeros((1, 7, 3))
    features = tokens_to_map(tokens, (2, 3), 1)
    tokens[0, 5, 2] = 1
    assert features[0, 2, 1, 1] == 1
    assert tokens_to_map(torch.zeros(2, 7, 3), (2, 3), 1).shape == (2, 3, 2, 3)


def test_a_detector_gives_the_pyramid_that_its_boxes_pool_from(tmp_path: Path) -> None:
    settings = DetectorSettings("faster-rcnn", "resnet18-fpn", classes=("cat", "dog"), width=8, hidden=16)
    model = settings.build().eval()
    save_model(tmp_path / "model.pt", model, settings)
    backbone = make_backbone(f"detector:{tmp_path / 'model.pt'}")
    assert (backbone.strides, backbone.default_levels) == ((4, 8, 16, 32), "by-size")
    images = random_images(64, 96)
    normalised = torch.from_numpy(Normalisation.of("imagenet")(images))
    with torch.no_grad():
        expected = model.backbone(normalised)[:4]
    for found, own in zip(all_maps(backbone, images), expected, strict=True):
        np.testing.assert_allclose(found, own.numpy(), atol=1e-4)


def test_a_detector_sees_images_of_its_own_sizes(tmp_path: Path) -> None:
    settings = DetectorSettings(
        "faster-rcnn", "resnet18-fpn", classes=("cat",), width=8, hidden=16, min_size=64, max_size=128
    )
    save_model(tmp_path / "model.pt", settings.build(), settings)
    assert make_backbone(f"detector:{tmp_path / 'model.pt'}").image_size.of(100, 300) == (32, 128)
    options = BackboneOptions(image_size=96)
    assert make_backbone(f"detector:{tmp_path / 'model.pt'}", options).image_size.of(100, 300) == (96, 288)


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [(BackboneOptions(precision="bfloat16"), 0.05), (BackboneOptions(channels_last=True, threads=2), 1e-4)],
)
def test_precision_and_memory_format_change_little(options: BackboneOptions, tolerance: float, tmp_path: Path) -> None:
    path = save_program(tmp_path / "network.pt2", TwoLevels())
    images = random_images(64, 96)
    plain, other = make_backbone(f"program:{path}"), make_backbone(f"program:{path}", options)
    for one, two in zip(all_maps(plain, images), all_maps(other, images), strict=True):
        np.testing.assert_allclose(one, two, atol=tolerance)
        assert options.precision == "float32" or not np.array_equal(one, two), "it is used"


def test_a_program_that_has_changed_is_found(tmp_path: Path) -> None:
    path = save_program(tmp_path / "network.pt2", TwoLevels())
    path.write_bytes(with_a_changed_byte(path.read_bytes()))
    with pytest.raises(
        BackboneError,
        match=r"expected a program saved by torch.export.save, got .*: damaged: the checksum of \S+ is wrong",
    ):
        make_backbone(f"program:{path}")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("resnet", "backbone: expected one of efficientnet-lite0, onnx:FILE"),
        ("onnx:", "backbone: expected onnx:FILE, got 'onnx:'"),
        ("detector", "backbone: expected detector:WEIGHTS, got 'detector'"),
        ("pixels:3", "backbone: expected pixels, got 'pixels:3'"),
        ("onnx:missing.onnx", "backbone: expected onnx:FILE, got 'onnx:missing.onnx': No such file"),
        ("onnx:{text}", "backbone: expected an ONNX model, got 'onnx:{text}': "),
        (
            "program:{text}",
            "backbone: expected a program saved by torch.export.save, got 'program:{text}': it is not an archive",
        ),
        (
            "detector:{text}",
            "backbone: expected detector:WEIGHTS, got 'detector:{text}': cannot be read as a weight file",
        ),
        ("hf:{text}", "backbone: expected a model of transformers, got 'hf:{text}': "),
        (
            "hf:/missing/config.json",
            "backbone: expected a model of transformers, got 'hf:/missing/config.json': no such file or folder",
        ),
        (
            "hf:./missing",
            "backbone: expected a model of transformers, got 'hf:./missing': no such file or folder",
        ),
    ],
)
def test_a_backbone_that_cannot_be_had_is_named(text: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no model")
    with pytest.raises(BackboneError, match=re.escape(why.format(text=path))):
        make_backbone(text.format(text=path))


def test_an_archive_of_something_else_is_no_program(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """PyTorch would log a long trace, and say that there are warnings above."""
    torch.save(TwoLevels().state_dict(), tmp_path / "weights.pt2")
    why = "saved by torch.export.save, got .*: an archive of something else, such as weights or TorchScript"
    with pytest.raises(BackboneError, match=why):
        make_backbone(f"program:{tmp_path / 'weights.pt2'}")
    assert capfd.readouterr() == ("", "")


def test_an_exported_detector_is_no_program_of_a_backbone(tmp_path: Path) -> None:
    """In a process of its own, in which nothing has registered the operators of detectors."""
    model = faster_rcnn(3, backbone=PyramidBackbone(18, width=8, out_channels=16), min_size=64, hidden=16)
    exporting.save_program(model, tmp_path / "detector.pt2")
    code = f"""if True:
        from roialign.features.backbones import make_backbone
        try:
            make_backbone("program:{tmp_path / "detector.pt2"}")
        except ValueError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = (
        f"backbone: expected a program of a backbone, got 'program:{tmp_path / 'detector.pt2'}', a whole detector"
    )
    assert done.stdout == f"{expected}; use detector:WEIGHTS with its weights\n"
    assert done.stderr == ""


def test_an_operator_that_is_not_registered_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    class Doubling(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            doubled: torch.Tensor = torch.ops.roialign_test.double(image)
            return doubled

    with torch.library._scoped_library("roialign_test", "DEF") as library:
        library.define("double(Tensor x) -> Tensor")
        library.impl("double", lambda x: 2 * x, "CompositeExplicitAutograd")
        program = torch.export.export(Doubling(), (torch.zeros(1, 3, 64, 96),))
        torch.export.save(program, tmp_path / "doubling.pt2")
    with pytest.raises(BackboneError, match=r"got 'program:\S+': .* torch.ops.roialign_test.double.default"):
        make_backbone(f"program:{tmp_path / 'doubling.pt2'}")
    assert capfd.readouterr() == ("", "")


def test_a_program_gets_images_of_its_dtype(tmp_path: Path) -> None:
    images = random_images(64, 96, 1)
    plain = make_backbone(f"program:{save_program(tmp_path / 'plain.pt2', TwoLevels())}")
    program = torch.export.export(TwoLevels().eval().double(), (torch.zeros(1, 3, 64, 96, dtype=torch.float64),))
    torch.export.save(program, tmp_path / "double.pt2")
    double = make_backbone(f"program:{tmp_path / 'double.pt2'}")
    assert plain.strides == double.strides
    for found, expected in zip(all_maps(double, images), all_maps(plain, images), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("layer", "operator"),
    [
        (torch.nn.BatchNorm2d(2), "batch_norm"),  # its features would depend on the other images of a batch
        (torch.nn.Dropout(0.5), "dropout"),  # they would be random
        (torch.nn.Dropout2d(0.5), "feature_dropout"),
        (torch.nn.Dropout(0.0), None),
        (torch.nn.InstanceNorm2d(2), None),
    ],
)
def test_a_program_of_a_network_in_training_mode_is_refused(
    layer: torch.nn.Module, operator: str | None, tmp_path: Path
) -> None:
    for training in (True, False):
        network = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 4, 4), layer).train(training)
        torch.export.save(torch.export.export(network, (torch.zeros(1, 3, 64, 96),)), tmp_path / "net.pt2")
        if training and operator is not None:
            why = f"in evaluation mode, got .*aten.{operator}.default is in training mode; call eval\\(\\)"
            with pytest.raises(BackboneError, match=why):
                make_backbone(f"program:{tmp_path / 'net.pt2'}")
        else:
            assert make_backbone(f"program:{tmp_path / 'net.pt2'}").strides == (4,)


def test_a_program_for_grey_images_is_refused(tmp_path: Path) -> None:
    program = torch.export.export(torch.nn.Conv2d(1, 2, 4, 4).eval(), (torch.zeros(1, 1, 64, 96),))
    torch.export.save(program, tmp_path / "grey.pt2")
    with pytest.raises(BackboneError, match=r"one input \[N, 3, H, W\], got \[\[1, 1, 64, 96\]\] in"):
        make_backbone(f"program:{tmp_path / 'grey.pt2'}")


def test_a_reason_may_follow_a_heading() -> None:
    """As those of transformers do."""
    error = BackboneError.of("a model", "'x'", ValueError("Validation error for field 'a':\n    expected int\n  more"))
    assert str(error) == "backbone: expected a model, got 'x': Validation error for field 'a': expected int"


def test_options_that_a_backbone_does_not_have_are_refused() -> None:
    with pytest.raises(ValueError, match="precision: expected 'float32' for 'efficientnet-lite0', got 'float16'"):
        make_backbone("efficientnet-lite0", BackboneOptions(precision="float16"))
    with pytest.raises(ValueError, match="image-size: expected multiples of 32, got 100x100"):
        make_backbone("efficientnet-lite0", BackboneOptions(image_size=(100, 100)))


@pytest.mark.parametrize("name", ["pixels", "efficientnet-lite0", "detector"])
def test_a_backbone_without_tokens_refuses_their_options(name: str, tmp_path: Path) -> None:
    """A detector too: its patch size would be that of cut images, which other commands have."""
    made = f"detector:{tmp_path}" if name == "detector" else name
    for option in ("patch_size", "prefix_tokens"):
        text = f"{option.replace('_', '-')}: expected no value for {made!r}, got 1024"
        with pytest.raises(ValueError, match=re.escape(text)):
            make_backbone(made, BackboneOptions(**{option: 1024}))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["pixels", "program", "onnx"])
def test_arrays_with_values_far_from_0_to_255_give_one_warning(kind: str, tmp_path: Path) -> None:
    """A job passes bytes. Of them, and of floats from 0 to 255, nothing is said."""
    files = {"program": save_program, "onnx": save_onnx}
    name = f"{kind}:{files[kind](tmp_path / kind, TwoLevels())}" if kind in files else kind
    backbone, images = make_backbone(name), random_images(64, 64, 1)
    for usual in (images, images.astype(np.float32), np.zeros((1, 64, 64, 3)), (images // 80).astype(np.int64)):
        backbone.maps(usual, [0])
    for number, message in enumerate(("got 0 to 1; scale them", "got 0 to 65280"), start=1):
        backbone = make_backbone(name)
        wrong = images / 255 if number == 1 else images.astype(np.float32) * 256
        with pytest.warns(RoIWarning, match=f"^images: expected values from 0 to 255, {message}"):
            backbone.maps(wrong, [0])
        backbone.maps(wrong, [0])


@pytest.mark.parametrize("text", ["", "imagenett", "1,2/3,4", "1,2,3/0,1,1", "1,2,3/nan,1,1", "1,2,3"])
def test_normalisations_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="normalise: expected imagenet"):
        Normalisation.of(text)
