"""A small training in a process of its own, for the tests that kill it or run two: FOLDER RUN [POOLER].

It learns rotated boxes if the folder has them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from roialign.detection import Validation, train
from roialign.detection.processes import launched_processes
from roialign.detection.scenes import ROTATED_FILE
from roialign.detection.training import Event, Stepped
from tests.detection.small_training import small_settings, training_set


def _say(event: Event) -> None:
    if isinstance(event, Stepped):
        sys.stdout.write(f"{event.iteration}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    data, run = map(Path, sys.argv[1:3])
    torch.set_num_threads(1)
    rotated = (data / "train" / ROTATED_FILE).exists()
    with launched_processes(torch.device("cpu")) as device:
        train(
            training_set(data, rotated=rotated),
            run,
            small_settings(training_set(data, rotated=rotated), *sys.argv[3:]),
            device=device,
            save_every=3,
            validation=Validation(training_set(data, rotated=rotated), 5),
            report=_say,
        )
