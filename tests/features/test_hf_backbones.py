"""Models of Hugging Face as backbones: their maps, the order of their tokens, and their image processors."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers

from roialign.features import BackboneError, BackboneOptions, Normalisation, make_backbone
from tests.features.networks import all_maps, random_images

TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def vit() -> transformers.PreTrainedModel:
    return transformers.ViTModel(transformers.ViTConfig(image_size=32, patch_size=16, **TINY))


def with_registers() -> transformers.PreTrainedModel:
    config = transformers.Dinov2WithRegistersConfig(
        image_size=28, patch_size=14, num_register_tokens=3, hidden_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    return transformers.Dinov2WithRegistersModel(config)


def swin() -> transformers.PreTrainedModel:
    """Two stages: a token of the last one shows 8 x 8 pixels."""
    config = transformers.SwinConfig(
        image_size=16, patch_size=4, embed_dim=4, depths=[1, 1], num_heads=[1, 2], window_size=2
    )
    return transformers.SwinModel(config)


def resnet() -> transformers.PreTrainedModel:
    config = transformers.ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 4, 4, 8], depths=[1, 1, 1, 1], layer_type="basic"
    )
    return transformers.ResNetModel(config)


@pytest.mark.parametrize(
    ("make", "stride", "channels", "prefix"),
    [(vit, 16, 16, 1), (with_registers, 14, 16, 4), (swin, 8, 8, 0), (resnet, 32, 8, None)],
)
def test_models_of_hugging_face(
    make: Callable[[], transformers.PreTrainedModel], stride: int, channels: int, prefix: int | None, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    model = make().eval()
    model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.25] * 3}))
    backbone = make_backbone(f"hf:{tmp_path}")
    assert (backbone.strides, backbone.channels) == ((stride,), (channels,))
    assert backbone.normalisation == Normalisation((127.5,) * 3, (63.75,) * 3)
    side = stride * 2
    images = random_images(side, side)
    with torch.no_grad():
        expected = model(pixel_values=torch.from_numpy(backbone.normalisation(images))).last_hidden_state.numpy()
    (found,) = all_maps(backbone, images)
    if prefix is not None:
        expected = expected[:, prefix:].reshape(2, 2, 2, channels).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    (other_size,) = backbone.maps(random_images(side, 2 * side), [0])
    assert other_size.shape == (2, channels, 2, 4)


def test_features_do_not_depend_on_earlier_images(tmp_path: Path) -> None:
    """A Swin layer keeps the smaller window of a small image. A resumed run would have other bytes."""
    swin().save_pretrained(tmp_path)
    backbone = make_backbone(f"hf:{tmp_path}", BackboneOptions(image_size=32))
    images = random_images(32, 48)
    (expected,) = all_maps(backbone, images)
    with pytest.raises(RuntimeError):
        all_maps(backbone, random_images(8, 32))
    (found,) = all_maps(backbone, images)
    np.testing.assert_array_equal(found, expected)


def _rectangle(kind: str, sides: list[int]) -> transformers.PreTrainedModel:
    """A model of images of this height and width."""
    if kind == "vit":
        return transformers.ViTModel(transformers.ViTConfig(image_size=sides, patch_size=16, **TINY))
    if kind == "dinov2":
        return transformers.Dinov2Model(transformers.Dinov2Config(image_size=sides, patch_size=16, **TINY))
    config = transformers.SwinConfig(
        image_size=sides, patch_size=4, embed_dim=4, depths=[1, 1], num_heads=[1, 2], window_size=2
    )
    return transformers.SwinModel(config)


@pytest.mark.parametrize("sides", [[32, 48], [32, 128]], ids=str)
def test_a_transformer_of_rectangles_gets_images_of_its_size(sides: list[int], tmp_path: Path) -> None:
    """2 x 8 positions could be taken for 4 x 4, and resized without an error."""
    model = _rectangle("vit", sides).eval()
    model.save_pretrained(tmp_path)
    for given in (None, (sides[0], sides[1])):
        backbone = make_backbone(f"hf:{tmp_path}", BackboneOptions(image_size=given))
        assert backbone.image_size.of(100, 100) == tuple(sides)
    images = random_images(*sides)
    with torch.no_grad():
        expected = model(pixel_values=torch.from_numpy(backbone.normalisation(images))).last_hidden_state.numpy()
    rows, columns = sides[0] // 16, sides[1] // 16
    expected = expected[:, 1:].reshape(2, rows, columns, 16).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(all_maps(backbone, images)[0], expected, atol=1e-4)
    for other in (32, (64, 64), (sides[1], sides[0])):
        why = f"image-size: expected {sides[0]}x{sides[1]} for 'hf:{tmp_path}', got {other}"
        with pytest.raises(ValueError, match=re.escape(why)):
            make_backbone(f"hf:{tmp_path}", BackboneOptions(image_size=other))


def test_a_model_that_cannot_place_a_rectangle_is_refused(tmp_path: Path) -> None:
    _rectangle("dinov2", [32, 48]).save_pretrained(tmp_path)
    with pytest.raises(BackboneError, match=r"^backbone: expected a model of square images, .*, got 32 x 48 pixels of"):
        make_backbone(f"hf:{tmp_path}")


def test_a_model_of_patches_that_are_no_squares_is_refused(tmp_path: Path) -> None:
    config = transformers.ViTConfig(image_size=[32, 32], patch_size=[16, 8], **TINY)
    transformers.ViTModel(config).save_pretrained(tmp_path)
    with pytest.raises(BackboneError, match=r"^backbone: expected a model of square patches, got patches of \[16, 8\]"):
        make_backbone(f"hf:{tmp_path}")


def test_a_model_of_rectangles_without_positions_gets_any_size(tmp_path: Path) -> None:
    _rectangle("swin", [16, 32]).save_pretrained(tmp_path)
    backbone = make_backbone(f"hf:{tmp_path}", BackboneOptions(image_size=32))
    assert all_maps(backbone, random_images(32, 40))[0].shape == (2, 8, 4, 5)


def test_a_transformer_of_unknown_prefix_is_refused(tmp_path: Path) -> None:
    transformers.YolosModel(transformers.YolosConfig(image_size=[32, 32], patch_size=16, **TINY)).save_pretrained(
        tmp_path
    )
    with pytest.raises(BackboneError, match="backbone: expected --prefix-tokens and --patch-size for tokens"):
        make_backbone(f"hf:{tmp_path}")


def test_a_damaged_image_processor_is_named(tmp_path: Path) -> None:
    transformers.ViTConfig(image_size=32, patch_size=16, **TINY).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": ')
    why = r"got 'hf:.*': .*preprocessor_config.json: not JSON: line 1, column 16"
    with pytest.raises(BackboneError, match=why):
        make_backbone(f"hf:{tmp_path / 'config.json'}")


@pytest.mark.parametrize(
    ("mean", "deviation", "why"),
    [
        ([0.5, 0.5], [0.25] * 3, "image_mean: expected three finite numbers, one per channel, got [0.5, 0.5]"),
        ([0.5] * 3, [0.25, 0, 0.25], "image_std[1]: expected a positive number, got 0"),
        ([1e37, 0.5, 0.5], [0.25] * 3, "mean[0]: expected a number in the range of float32, got 2.55e+39"),
        ([0.5, math.inf, 0.5], [0.25] * 3, "image_mean[1]: expected a finite number, got inf"),
        ([0.5] * 3, None, "image_std: expected three positive numbers, one per channel, got None"),
        (["0.5"] * 3, [0.25] * 3, "image_mean[0]: expected a number, got '0.5'"),
    ],
)
def test_the_numbers_of_an_image_processor_are_checked(
    mean: object, deviation: object, why: str, tmp_path: Path
) -> None:
    transformers.ViTConfig(image_size=32, patch_size=16, **TINY).save_pretrained(tmp_path)
    config, processor = tmp_path / "config.json", tmp_path / "preprocessor_config.json"
    processor.write_text(json.dumps({"image_mean": mean, "image_std": deviation}))
    with pytest.raises(BackboneError, match=re.escape(f"preprocessor_config.json: {why}")):
        make_backbone(f"hf:{config}")
    chosen = make_backbone(f"hf:{config}", BackboneOptions(normalise="unit"))
    processor.write_text(json.dumps({"image_mean": 0, "image_std": 1}))  # one number is that of every channel
    assert make_backbone(f"hf:{config}").normalisation == chosen.normalisation


def test_random_weights_are_the_same_in_every_run(tmp_path: Path) -> None:
    transformers.ViTConfig(image_size=32, patch_size=16, **TINY).save_pretrained(tmp_path)
    one, other = (make_backbone(f"hf:{tmp_path / 'config.json'}") for _ in range(2))
    assert one.facts() == other.facts()


def test_a_masked_autoencoder_sees_all_patches_in_order(tmp_path: Path) -> None:
    """transformers hides three quarters of the patches and shuffles the others."""
    torch.manual_seed(1)
    model = transformers.ViTMAEModel(transformers.ViTMAEConfig(image_size=64, patch_size=16, **TINY)).eval()
    model.save_pretrained(tmp_path)
    backbone = make_backbone(f"hf:{tmp_path}")
    assert backbone.strides == (16,)
    for size in ((64, 64), (32, 96)):
        images = random_images(*size)
        (found,) = all_maps(backbone, images)
        assert found.shape == (2, 16, size[0] // 16, size[1] // 16)
        np.testing.assert_array_equal(all_maps(backbone, images)[0], found)
    model.config.mask_ratio = 0.0
    images = random_images(64, 64)
    pixels = torch.from_numpy(backbone.normalisation(images))
    with torch.no_grad():
        output = model(pixel_values=pixels)
    in_order = torch.gather(output.last_hidden_state[:, 1:], 1, output.ids_restore[:, :, None].expand(-1, -1, 16))
    expected = in_order.numpy().reshape(2, 4, 4, 16).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(all_maps(backbone, images)[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"do_normalize": True},
        {"do_normalize": False},
        {"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [127.5] * 3},
        {"do_rescale": False, "do_normalize": False},
        {"rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3, "image_std": [0.5, 1.0, 2.0]},
    ],
)
def test_pixels_are_those_of_the_image_processor(settings: dict[str, object], tmp_path: Path) -> None:
    transformers.ViTModel(transformers.ViTConfig(image_size=64, patch_size=16, **TINY)).save_pretrained(tmp_path)
    processor = transformers.ViTImageProcessor(size={"height": 64, "width": 64}, **settings)
    processor.save_pretrained(tmp_path)
    images = random_images(64, 64)
    expected = processor(list(images), return_tensors="np")["pixel_values"]
    np.testing.assert_allclose(make_backbone(f"hf:{tmp_path}").normalisation(images), expected, atol=1e-5)


def test_the_processor_of_text_and_images_contains_that_of_images(tmp_path: Path) -> None:
    transformers.ViTModel(transformers.ViTConfig(image_size=64, patch_size=16, **TINY)).save_pretrained(tmp_path)
    settings = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7]}
    processor = transformers.ViTImageProcessor(do_resize=False, **settings)
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": processor.to_dict()}))
    images = random_images(64, 64)
    expected = processor(list(images), return_tensors="np")["pixel_values"]
    for own in (None, {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}):  # as in transformers, this has no effect
        if own is not None:
            (tmp_path / "preprocessor_config.json").write_text(json.dumps(own))
        loaded = transformers.ViTImageProcessor.from_pretrained(tmp_path)
        assert list(loaded.image_mean) == settings["image_mean"]
        np.testing.assert_allclose(make_backbone(f"hf:{tmp_path}").normalisation(images), expected, atol=1e-5)
    (tmp_path / "processor_config.json").write_text('{"processor_class": "CLIPProcessor"}')  # of earlier versions
    assert make_backbone(f"hf:{tmp_path}").normalisation == Normalisation.of("symmetric")


@pytest.mark.parametrize("include_top", [False, True])
@pytest.mark.parametrize("rescale_offset", [False, True])
def test_pixels_are_those_of_efficientnet(include_top: bool, rescale_offset: bool, tmp_path: Path) -> None:
    transformers.ViTModel(transformers.ViTConfig(image_size=64, patch_size=16, **TINY)).save_pretrained(tmp_path)
    settings = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.5], "rescale_factor": 1 / 127.5}
    processor = transformers.EfficientNetImageProcessor(
        do_resize=False, include_top=include_top, rescale_offset=rescale_offset, **settings
    )
    processor.save_pretrained(tmp_path)
    images = random_images(64, 64)
    expected = processor(list(images), return_tensors="np")["pixel_values"]
    np.testing.assert_allclose(make_backbone(f"hf:{tmp_path}").normalisation(images), expected, rtol=1e-4, atol=1e-4)


def test_a_processor_without_a_normalisation_leaves_the_default(tmp_path: Path) -> None:
    transformers.ViTConfig(image_size=32, patch_size=16, **TINY).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"size": 32}')
    backbone = make_backbone(f"hf:{tmp_path / 'config.json'}")
    assert backbone.normalisation == Normalisation.of("imagenet")


def test_a_model_of_blue_green_and_red_gets_them(tmp_path: Path) -> None:
    torch.manual_seed(1)
    sizes = {"hidden_sizes": [8, 8, 8], "neck_hidden_sizes": [4] * 7, "num_attention_heads": 2}
    model = transformers.MobileViTModel(transformers.MobileViTConfig(image_size=64, **sizes)).eval()
    model.save_pretrained(tmp_path)
    processor = transformers.MobileViTImageProcessor(do_resize=False, do_center_crop=False)
    processor.save_pretrained(tmp_path)
    backbone, images = make_backbone(f"hf:{tmp_path}"), random_images(64, 64)
    pixels = processor(list(images), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        expected = model(pixel_values=pixels).last_hidden_state.numpy()
    np.testing.assert_allclose(all_maps(backbone, images)[0], expected, atol=1e-5)
    assert backbone.facts()["channels"] == "BGR"


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"do_normalize": False, "rescale_factor": 0}, "rescale_factor: expected a positive number, got 0"),
        ({"do_normalize": True, "offset": True}, "offset: expected none, got one"),
        ({"do_normalize": True}, "image_mean: expected three finite numbers, one per channel, got None"),
    ],
)
def test_settings_of_an_image_processor_are_checked(settings: dict[str, object], why: str, tmp_path: Path) -> None:
    transformers.ViTConfig(image_size=32, patch_size=16, **TINY).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    with pytest.raises(BackboneError, match=re.escape(f"preprocessor_config.json: {why}")):
        make_backbone(f"hf:{tmp_path / 'config.json'}")


def _without(folder: Path, part: str) -> None:
    """Rename all weights with this part in their names, as of another kind of model."""
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    renamed = {f"other.{name}" if part in name else name: value for name, value in weights.items()}
    assert renamed.keys() != weights.keys()
    safetensors.torch.save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("part", ["", ".1.", "cls_token"])
def test_weights_that_features_depend_on_must_be_there(part: str, tmp_path: Path) -> None:
    vit().save_pretrained(tmp_path)
    _without(tmp_path, part)
    with pytest.raises(BackboneError, match="expected weights for every layer that the features depend on, got "):
        make_backbone(f"hf:{tmp_path}")


def test_weights_of_a_pooler_may_be_absent(tmp_path: Path) -> None:
    model = vit().eval()
    model.save_pretrained(tmp_path)
    image = random_images(32, 32)
    expected = all_maps(make_backbone(f"hf:{tmp_path}"), image)
    _without(tmp_path, "pooler")
    found = all_maps(make_backbone(f"hf:{tmp_path}"), image)
    np.testing.assert_array_equal(found[0], expected[0])


def test_a_missing_statistic_of_batch_normalisation_is_an_error(tmp_path: Path) -> None:
    """It has no gradient, but features depend on it."""
    resnet().save_pretrained(tmp_path)
    _without(tmp_path, "running_mean")
    with pytest.raises(BackboneError, match="running_mean' is missing"):
        make_backbone(f"hf:{tmp_path}")
