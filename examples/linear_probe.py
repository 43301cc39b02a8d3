"""Train a linear classifier on region features: how much of the labels is in them?

python examples/linear_probe.py features                 # the label column of a folder of features
python examples/linear_probe.py features --target image  # or: which photograph is a region from?
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from roialign.search import FeatureFolder


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("features", type=Path, help="A folder that `roialign extract --backbone` has written.")
    parser.add_argument("--target", choices=["label", "image"], default="label", help="What to predict.")
    options = parser.parse_args()
    folder = FeatureFolder.open(options.features)
    positions, vectors = map(np.concatenate, zip(*folder.blocks(), strict=True))
    regions = folder.regions(positions)
    targets = np.array([getattr(region, options.target) for region in regions])
    held_out = np.random.default_rng(0).random(len(regions)) < 0.25
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    probe.fit(vectors[~held_out], targets[~held_out])
    names, counts = np.unique(targets[held_out], return_counts=True)
    print(f"accuracy: {probe.score(vectors[held_out], targets[held_out]):.1%}")
    print(f"always answering {names[counts.argmax()]}: {counts.max() / held_out.sum():.1%}")


if __name__ == "__main__":
    main()
