"""Images with an EXIF orientation that one file of boxes has read in two ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from roialign.files.orientation import Annotated, Turning, how_to_read
from roialign.files.problems import Problems
from roialign.files.turnings import Turnings
from tests.commands.invoked import invoke
from tests.files.images import encoded


@pytest.mark.parametrize(
    ("orientation", "annotated", "is_assumed"),
    [
        (6, Annotated(None, [(0, 0, 9, 9)]), True),
        (6, Annotated(None, [(0, 0, 900, 900)]), True),  # fits neither way
        (6, Annotated(None, [(0, 0, 9, 60)]), False),  # upright only
        (6, Annotated(None, [(0, 0, 60, 9)]), False),  # as stored only
        (6, Annotated(None), False),
        (1, Annotated(None, [(0, 0, 9, 9)]), False),
        (3, Annotated(None, [(0, 0, 9, 9)]), True),
        (3, Annotated((60, 40), [(0, 0, 9, 9)]), True),
        (6, Annotated((40, 60), [(0, 0, 9, 9)]), False),
    ],
)
def test_what_is_assumed(orientation: int, annotated: Annotated, is_assumed: bool) -> None:
    assert how_to_read(orientation, (60, 40), annotated).is_assumed == is_assumed


def test_parts_of_a_run_are_added() -> None:
    parts = [Turnings(), Turnings()]
    for part, names in zip(parts, ("cd", "ab"), strict=True):
        for name in names:
            part.look(Path(name), Turning(True, is_assumed=name in "bcd"))
    problems = Problems()
    parts[0].add(parts[1])
    parts[0].remark_in(problems)
    assert problems.remarks == [], "all were read in one way"
    parts[0].look(Path("z"), Turning(False))
    parts[0].remark_in(problems)
    (remark,) = map(str, problems.remarks)
    assert remark.startswith("b: EXIF orientation: 3 images are read upright by default, such as this one, but z as")


@pytest.mark.parametrize("options", [(), ("--backbone", "pixels", "--output-size", "vector", "--readers", 0)])
def test_extract_says_that_a_table_was_read_in_two_ways(options: tuple[object, ...], tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in "ABC":
        (photos / f"{name}.png").write_bytes(encoded(np.zeros((90, 120, 3), dtype=np.uint8), orientation=6))
    rows = ["A.png,5,5,118,40", "B.png,5,5,35,35", "C.png,5,5,80,40"]

    def notes(header: str, more: str) -> list[str]:
        (tmp_path / "b.csv").write_text("\n".join([header, *(row + more for row in rows)]))
        out = tmp_path / (f"out{len(more)}" if options else "f.npz")
        result = invoke("extract", photos, "--boxes", tmp_path / "b.csv", "--out", out, *options)
        assert result.exit_code == 0, result.output
        return [line for line in result.stderr.splitlines() if "by default" in line]

    (note,) = notes("image,x1,y1,x2,y2", "")
    assert note.startswith(f"note: {photos / 'B.png'}: EXIF orientation: 2 images are read upright by default")
    assert f"but {photos / 'A.png'} as stored" in note
    assert notes("image,x1,y1,x2,y2,image_width,image_height", ",120,90") == []
