"""docs/features.md and docs/search.md: their commands run, and every reader reads what was written."""

from __future__ import annotations

import csv
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roialign.features.backbones import BACKBONES
from tests.commands.invoked import invoke
from tests.features.photographs import write_boxes, write_photographs
from tests.tables.paths import DOCS

PAGE, SEARCH = ((DOCS / name).read_text(encoding="utf-8") for name in ("features.md", "search.md"))


def test_the_commands_and_the_readers_of_the_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_boxes(Path("boxes.csv"), write_photographs(Path("photos"), 6))
    (Path("photos") / "broken.jpg").write_bytes(b"")
    with Path("boxes.csv").open("a") as file:
        file.write("\nbroken.jpg,,1,1,5,5\n")
    (command,) = re.findall(r"^roialign (extract .*)$", PAGE, re.MULTILINE)
    assert invoke(*shlex.split(command), "--image-size", 64, "--readers", 0).exit_code == 1
    tensors = [*shlex.split(command)[:-1], "tensors", "--format", "safetensors"]
    assert invoke(*tensors, "--image-size", 64, "--readers", 0).exit_code == 1
    shutil.copy(Path("photos") / "003.jpg", "cat.jpg")
    searches = [shlex.split(line) for line in re.findall(r"^roialign (search .*)$", SEARCH, re.MULTILINE)]
    assert len(searches) == 2
    for words in searches:
        assert invoke(*words).exit_code == 0
    with Path("like-this.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2 * 17
    assert Path("like-this.png").exists()
    space: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE + SEARCH, re.DOTALL):
        table_vectors = space.get("vectors")
        exec(compile(code, "docs", "exec"), space)
    np.testing.assert_array_equal(space["vectors"], table_vectors)
    assert space["images"][:18] == [row[0] for row in space["names"]]
    assert list(space["failed"]) == ["photos/broken.jpg"]
    assert space["vectors"].shape == (18, 112)
    assert len(space["frame"]) == len(space["names"]) == 18
    assert len(space["dataset"]) == 19
    assert space["maps"].shape == (18, 112, 7, 7)
    assert space["found"].positions.shape == space["found"].scores.shape == (2, 10)
    assert space["regions"][0].image in {row[0] for row in space["names"]}
    # With exact pooling the vector is the mean of the bins.
    np.testing.assert_allclose(space["maps"].mean((2, 3)), space["vectors"], atol=1e-4)


def test_the_page_names_every_backbone_and_column() -> None:
    assert re.findall(r"^\| `([^`]*)` \|.*`\[", PAGE, re.MULTILINE) == [written for written, _ in BACKBONES.values()]
