"""Train a linear classifier on region features: how much of the labels is in them?

python examples/linear_probe.py features                 # the label column of a folder of features
python examples/linear_probe.py features --target image  # or: which photograph is a region from?
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from arguments import ends_with_code
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from roialign.search import FeatureFolder


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("features", type=Path, help="A folder that `roialign extract --backbone` has written.")
    parser.add_argument("--target", choices=["label", "image"], default="label", help="What to predict.")
    options = parser.parse_args()
    if not options.features.is_dir():
        raise ValueError(f"features: expected a folder written by roialign extract --backbone, got {options.features}")
    folder = FeatureFolder.open(options.features)
    blocks = list(folder.blocks())
    if not blocks:
        raise ValueError(f"features: expected regions, got none in {options.features}")
    positions, vectors = map(np.concatenate, zip(*blocks, strict=True))
    regions = folder.regions(positions)
    targets = np.array([getattr(region, options.target) for region in regions])
    held_out = np.random.default_rng(0).random(len(regions)) < 0.25
    classes = np.unique(targets[~held_out])
    if len(classes) < 2 or not held_out.any():
        regions_of = f"{len(regions)} regions with {len(classes)} in {options.features}"
        raise ValueError(f"--target: expected at least two {options.target}s to tell apart, got {regions_of}")
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    probe.fit(vectors[~held_out], targets[~held_out])
    names, counts = np.unique(targets[held_out], return_counts=True)
    print(f"accuracy: {probe.score(vectors[held_out], targets[held_out]):.1%}")
    print(f"always answering {names[counts.argmax()]}: {counts.max() / held_out.sum():.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(ends_with_code(main))
