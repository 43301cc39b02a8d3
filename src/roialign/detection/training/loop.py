"""The training loop: batches, losses, optimiser steps and checkpoints, so that a stopped run can be resumed."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

from ..._validate import check_instance, check_int, check_path
from ...files.kinds import check_readable
from ...files.problems import DatasetError, FileError
from ...torch.devices import check_device
from ..coco import CocoDataset
from ..model_files import MODEL_FILE, save_model
from ..models import TwoStageDetector
from ..processes import averaged, process_count, process_rank
from .checkpoint import (
    ANNOTATIONS,
    CHECKPOINT_FILE,
    annotations_of,
    load_checkpoint,
    remark_other_annotations,
    save_checkpoint,
)
from .data import Stream, batches, places_of
from .events import Event, Measured, Report, Saved, Started, Stepped
from .logs import TABLE_FILE, Log
from .optimisation import learning_rate, make_optimiser, set_learning_rate
from .randomness import ITERATION, SAMPLE, WEIGHTS, generator_of, seed_of
from .settings import SETTINGS_FILE, RunError, TrainSettings, check_same, read_settings, write_settings
from .validation import Validation, logged

PRECISION_TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def train(
    dataset: CocoDataset,
    run: str | Path,
    settings: TrainSettings,
    *,
    device: str | torch.device = "cpu",
    workers: int = 0,
    save_every: int = 100,
    validation: Validation | None = None,
    report: Report | None = None,
    stop: Callable[[], bool] | None = None,
) -> TwoStageDetector:
    """Train a detector, or resume a run that was stopped.

    Concretely, iteration i takes an optimiser step with the gradient of the losses of images ``i * batch_size`` to
    ``(i + 1) * batch_size - 1`` of an endless sequence, which shuffles the dataset in every epoch.

    The order, the mirroring and the sampling of boxes depend only on the seed and on the position of an image in that
    sequence. With the same number of threads, a run that was killed and resumed therefore ends with the same bits as
    one that was not. The processes of ``torch.distributed`` share the images of every batch and take the same steps as
    a single process would. The exception is batch normalisation, which sees only the images of its own process. Group
    normalisation does not depend on the other images.

    If the settings ask for more iterations, a finished run is continued. It then follows the schedule of the larger
    number, so the learning rate rises again, and the result differs from a run with that number from the start.

    Parameters
    ----------
    dataset : CocoDataset
        The training images. With ``settings.patch_size``, their patches are trained on: see :func:`cut_into_patches`.
    run : path
        The folder of the run, created if it does not exist. It holds ``settings.json``, ``checkpoint.pt``, ``log.csv``,
        ``tensorboard/`` and, next to the checkpoint, ``model.pt`` for :func:`load_model`. Files are replaced
        atomically.
    settings : TrainSettings
        The settings of the training.
    device : str or torch.device, default "cpu"
        The device to train on.
    workers : int, default 0
        The number of processes that load images ahead. With 0, the training process loads them itself.
    save_every : int, default 100
        The number of iterations between checkpoints.
    validation : Validation, optional
        A dataset on which the average precision is measured during training. The values go to the log and to `report`.
    report : function, optional
        Called with every event: :class:`Cut` for every patch before the run starts, :class:`Started`, :class:`Stepped`
        after every iteration, :class:`Measured` and :class:`Saved`.
    stop : function, optional
        Called after every iteration. If it returns True, the run is saved and training stops, without the validation
        that may be due. All processes must return the same value.

    Returns
    -------
    TwoStageDetector
        The trained detector, in evaluation mode.

    Raises
    ------
    RunError
        If the files of the run cannot be read or written, if a loss is not finite, or if the folder has a detector but
        no checkpoint. It is an :class:`OtherSettingsError` if the run was started with other settings.
    DatasetError
        If there is nothing to train on, or if no image can be read. If the dataset is `strict`, for the first image
        that cannot be read. The progress up to that point is saved; with several processes, if the first of them has
        the image. If the dataset is not `strict`, such images are reported and replaced by others.
    TypeError, ValueError
        If another argument is something else or out of range.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from roialign.detection import CocoDataset, SceneSettings, TrainSettings, new_detector, train, write_scenes
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_scenes(folder, {"train": 2}, SceneSettings(image_size=64, objects=(1, 2)))
    >>> dataset = CocoDataset(folder / "train/annotations.json", folder / "train/images")
    >>> detector = new_detector(dataset, backbone="resnet18-fpn", width=8, out_channels=16, hidden=16, mask_hidden=8)
    >>> model = train(dataset, folder / "run", TrainSettings(detector, iterations=2, batch_size=2))
    >>> sorted(path.name for path in (folder / "run").iterdir())
    ['checkpoint.pt', 'log.csv', 'model.pt', 'settings.json', 'tensorboard']

    References
    ----------
    Ren et al., "Faster R-CNN", NeurIPS 2015, https://arxiv.org/abs/1506.01497
    """
    run, device = check_path(run, "run"), check_device(device)
    workers, save_every = check_int(workers, "workers", 0), check_int(save_every, "save_every", 1)
    if validation is not None:
        check_instance(validation, "validation", Validation)
    _check_files(run)
    stream = Stream(dataset, settings, report)
    places_of(0, settings.batch_size)
    tell = _ignore if report is None else report
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        state = _State(settings, device, run, dataset)
        first = state.load()
        if process_count() > 1:
            distributed.barrier()  # no process writes a file that another one still has to read
        if process_rank() == 0:
            run.mkdir(parents=True, exist_ok=True)
            write_settings(run, settings)
        tell(Started(first, settings.iterations))
        done = saved = first
        with _log_of(run, first, [] if validation is None else validation.names(settings)) as log:
            try:
                for done, examples in enumerate(batches(stream, first, workers), start=first + 1):
                    losses, numbers = state.step(done - 1, examples)
                    tell(Stepped(done, losses))
                    stopped = stop is not None and stop()  # before a validation, which can take long
                    figures = None
                    try:
                        if not stopped and validation is not None and validation.is_due(done, settings):
                            figures = validation.measure(state.model, settings, done)
                    finally:
                        if log is not None:
                            log.add(done, numbers, logged(figures))
                    if figures is not None:
                        tell(Measured(done, figures))
                    if stopped:
                        break
                    if done % save_every == 0 and done < settings.iterations:
                        state.save(done, tell)
                        saved = done
            except DatasetError:  # of an image that a strict dataset refuses
                if done > saved:
                    state.save(done, tell)
                raise
        state.save(done, tell)
        if process_count() > 1:
            distributed.barrier()  # the files exist when any process returns
    return state.model.eval()


def _check_files(run: Path) -> None:
    """Check that the files of a run can be written, before training starts.

    Raises
    ------
    RunError
        If one of them cannot be written. The message names the file.
    """
    if os.path.lexists(run) and not run.is_dir():
        raise RunError(f"{run}: expected a folder for the run, got a file")
    for path in (run / name for name in (SETTINGS_FILE, CHECKPOINT_FILE, MODEL_FILE, TABLE_FILE)):
        try:
            if path.exists():
                check_readable(path)
        except FileError as error:
            raise RunError(f"{path}: {error}") from error


def _ignore(event: Event) -> None:
    del event


@contextmanager
def _log_of(run: Path, iteration: int, measured: list[str]) -> Iterator[Log | None]:
    """The log of the run, or None in all processes but the first."""
    log = Log(run, iteration, measured) if process_rank() == 0 else None
    try:
        yield log
    finally:
        if log is not None:
            log.close()


class _State:
    """The state of a run: the model and its optimiser."""

    def __init__(self, settings: TrainSettings, device: torch.device, run: Path, dataset: CocoDataset) -> None:
        self.settings, self.device, self.run, self.dataset = settings, device, run, dataset
        self.annotations = annotations_of(dataset)
        self.trained_on: Any = None
        """The annotations of the last step. None before the first one, or if the checkpoint does not have them."""
        torch.manual_seed(seed_of(settings.seed, WEIGHTS))
        with torch.device("cpu"):  # so that a seed gives the same weights for every default device
            model = settings.detector.build()
        self.model = model.to(device).train()
        self.optimiser = make_optimiser(settings, self.model)
        self.scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "float16")

    def load(self) -> int:
        """Load the checkpoint of the run, and return the number of completed iterations.

        A run without a checkpoint starts from the beginning, with any settings, unless it already has a detector.
        """
        parts = load_checkpoint(self.run)
        if parts is None and (self.run / MODEL_FILE).exists():
            raise RunError(
                f"{self.run}: has {MODEL_FILE} but no {CHECKPOINT_FILE}, so training cannot be resumed; restore "
                f"{CHECKPOINT_FILE}, use another folder, or remove {MODEL_FILE} to start again"
            )
        if parts is None:
            return 0
        iteration = int(parts["iteration"])
        begun = read_settings(self.run)
        if begun is not None:
            check_same(self.run, self.settings, begun, iteration)
        try:
            self.model.load_state_dict(parts["model"])
            self.optimiser.load_state_dict(parts["optimiser"])
            self.scaler.load_state_dict(parts["scaler"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise RunError(f"{self.run}: the checkpoint does not fit the settings: {error}") from error
        self.trained_on = parts.get(ANNOTATIONS)
        if process_rank() == 0:
            goes_on = iteration < self.settings.iterations
            remark_other_annotations(self.dataset, self.trained_on, self.annotations, goes_on=goes_on)
        return iteration

    def save(self, iteration: int, tell: Report) -> None:
        """Save the checkpoint. The first process does it for all."""
        if process_rank() != 0:
            return
        # Write the checkpoint first. If the run is killed in between, it resumes from there.
        save_checkpoint(
            self.run,
            {
                "iteration": iteration,
                "model": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "scaler": self.scaler.state_dict(),
                ANNOTATIONS: self.trained_on,
            },
        )
        save_model(self.run / MODEL_FILE, self.model, self.settings.detector)
        tell(Saved(iteration))

    def step(
        self, iteration: int, examples: list[tuple[Tensor, dict[str, Any]]]
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Take one optimiser step. Returns the losses by name, and all values for the log."""
        settings = self.settings
        rate = learning_rate(settings, iteration)
        set_learning_rate(self.optimiser, rate)
        torch.manual_seed(seed_of(settings.seed, ITERATION, iteration, process_rank()))
        images = [image.to(self.device) for image, _ in examples]
        targets = [
            {name: value.to(self.device) for name, value in target.items() if isinstance(value, Tensor)}
            for _, target in examples
        ]
        generators = [generator_of(settings.seed, SAMPLE, place) for place in places_of(iteration, settings.batch_size)]
        mixed = PRECISION_TYPES.get(settings.precision)
        with torch.autocast(self.device.type, dtype=mixed, enabled=mixed is not None):
            losses = self.model(images, targets, generators)
        total = torch.stack(list(losses.values())).sum()
        shown = dict(zip(losses, averaged(torch.stack(list(losses.values())).detach().float()).tolist(), strict=True))
        if not all(map(math.isfinite, shown.values())):
            text = ", ".join(f"{name} {value:.4g}" for name, value in shown.items())
            raise RunError(f"iteration {iteration + 1}: a loss is not finite: {text}; try a lower learning rate")
        self.optimiser.zero_grad()
        self.scaler.scale(total).backward()  # type: ignore[no-untyped-call]
        _average_gradients(self.model)
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.trained_on = self.annotations
        numbers = {"loss": sum(shown.values()), **shown, "learning_rate": rate, "gradient_norm": float(norm)}
        return shown, numbers


def _average_gradients(model: nn.Module) -> None:
    """Average the gradients over the processes in one message. A parameter without a gradient counts as 0."""
    if process_count() == 1:
        return
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in learning:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in learning if parameter.grad is not None]
    mean = averaged(torch.cat([gradient.flatten() for gradient in gradients]))
    parts = torch.split(mean, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
