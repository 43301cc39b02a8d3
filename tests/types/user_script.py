"""A user's script, which type checkers read in strict mode: with arrays, with tensors, with detectors, with mistakes.

Where a line is wrong, a comment says so; a checker that does not find it fails the test, as does one that finds more.
"""

import jax
import numpy as np
import torch

import roialign
from roialign.detection import CocoDataset, TrainSettings, Validation, evaluate_model, faster_rcnn, load_model, train
from roialign.torch import DeformRoIPoolPack, MultiScaleRoIAlign, RoIAlign, RoIAlignRotated

# Arrays: float32 maps and float64 boxes.
features = np.zeros((2, 256, 50, 84), dtype=np.float32)
rois = np.array([[0, 32.0, 48.0, 410.0, 300.0], [1, 500.0, 20.5, 640.0, 200.0]])
pooled = roialign.roi_align(features, rois, 7, 1 / 16, sampling="exact")
average: float = float(pooled.mean())
shape: tuple[int, ...] = pooled.shape
per_image = roialign.roi_align(features, [rois[:1, 1:], rois[1:, 1:]], (7, 7), 1 / 16, mode="max", layout="NCHW")
grad_features, grad_rois = roialign.roi_align_backward(np.ones_like(pooled), features, rois, 1 / 16, need=("features",))
largest: float = float(grad_features[0].max())
levels = roialign.fpn_levels(rois, [1 / 4, 1 / 8])
pyramid = roialign.multiscale_roi_align([features, features[..., ::2, ::2]], rois, 7, [1 / 4, 1 / 8], levels=levels)
crops = roialign.crop_and_resize(features, rois[:, 1:], np.array([0, 1]), 14, layout="NCHW", method="nearest")
offsets = roialign.deform_roi_pool(features, rois, None, 7, 1 / 16, seed=np.random.default_rng(0), sampling="random")
weights = roialign.taps(10, 0.0, 4.0, 2)
numbers = roialign.roi_align(features, rois, [np.int64(7), 7], np.float32(0.5), np.array([2, 2]).tolist())
print(
    numbers.shape,
    average,
    shape,
    per_image.sum(),
    largest,
    grad_rois,
    pyramid.dtype,
    crops.shape,
    offsets.std(),
    weights.sum(),
)

# Tensors: functions and modules give tensors.
maps = torch.zeros(2, 256, 50, 84, requires_grad=True)
boxes = [torch.tensor([[20.0, 30.0, 180.0, 200.0]]), torch.zeros(0, 4)]
drawn = roialign.roi_align(maps, boxes, 7, 1 / 16, seed=torch.Generator(), sampling="random")
(slope,) = torch.autograd.grad(drawn.square().sum(), maps)
pool = RoIAlign(7, 1 / 16, sampling="exact")
rotated = RoIAlignRotated(7, 1 / 16, clockwise=True, layout="NHWC")(maps, torch.zeros(1, 6))
learned = DeformRoIPoolPack(7, 256, 64, spatial_scale=1 / 16)(maps, torch.zeros(1, 5))
several = MultiScaleRoIAlign(7, [1 / 16])([maps], boxes, levels=torch.zeros(1, dtype=torch.int64))
total: torch.Tensor = pool(maps, boxes).mean() + rotated.mean() + learned.mean() + several.mean()

sized = RoIAlign(torch.Size([7, 7]), torch.tensor(1 / 16))(maps, boxes)
scaled = MultiScaleRoIAlign([7, 7], torch.tensor([1 / 16]))([maps], boxes)
total = total + sized.mean() + scaled.mean()


# Arrays of JAX: functions give them.
def pooled_by_jax(given: jax.Array, boxes_of_it: jax.Array, key: jax.Array) -> jax.Array:
    answer = roialign.roi_align(given, boxes_of_it, 7, 1 / 16, 2, sampling="random", seed=key)
    gradients = roialign.roi_align_backward(answer, given, boxes_of_it, 1 / 16, 2)
    assigned: jax.Array = roialign.fpn_levels(boxes_of_it, [1 / 4, 1 / 8])
    print(gradients[0].shape, assigned.shape)
    return answer


# Detectors: losses in training mode, else what was found.
model = faster_rcnn(num_classes=91, pooler="exact", min_size=64)
losses = model([torch.rand(3, 64, 64)], [{"boxes": boxes[0], "labels": torch.ones(1, dtype=torch.int64)}])
loss: torch.Tensor = sum(losses.values(), torch.zeros(()))
found = model.eval()([torch.rand(3, 64, 64)])
scores: list[float] = [float(score) for score in found[0]["scores"].detach()]


def learn(dataset: CocoDataset, settings: TrainSettings) -> float:
    trained = train(dataset, "run", settings, validation=Validation(dataset, 100), report=print)
    again, _ = load_model("run")
    return float(evaluate_model(trained, dataset)["box"]["AP"]) + len(again([dataset[0][0]]))


# Mistakes.
roialign.roi_align(features, rois, 7, sampling="excat")  # wrong: a word that does not exist
roialign.roi_align(maps, rois, 7)  # wrong: a tensor and an array
roialign.crop_and_resize(features, rois, rois, 7, layout="CHWN")  # wrong: a layout that does not exist
roialign.roi_align_backward(pooled, features, rois, need=("feature",))  # wrong: a gradient that does not exist
RoIAlign(7, mode="mean")  # wrong: a word that does not exist
RoIAlignRotated(7, backend="gpu")  # wrong: a backend that does not exist
pool(features, boxes)  # wrong: an array for a module
pooled.backward()  # wrong: an array has no gradient
