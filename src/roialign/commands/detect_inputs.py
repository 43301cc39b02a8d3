"""The images that `roialign detect` reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .._text import counted
from ..files.folders import LIST_ENDINGS, EmptyFolderError, expand_folders
from ..files.images import IMAGE_ENDINGS
from ..files.problems import Problems, StoppedByProblem


def images_to_detect(paths: Sequence[Path], out: Path, problems: Problems) -> list[Path]:
    """Replace folders by their images, without the pictures that an earlier run wrote to `out`.

    A picture that is given by its own name is kept. A text file is a problem, because lists of files are not read.

    Raises
    ------
    EmptyFolderError
        If there is a folder, and no image to detect on.
    StoppedByProblem
        If there are only text files, which have been reported.
    """
    from ..detection.detecting import earlier_results

    named = []
    for path in paths:
        if path.suffix.lower() in LIST_ENDINGS and path.is_file():
            problems.add(path, "expected an image or a folder of images, got a text file; lists of files are not read")
        else:
            named.append(path)
    if not named:
        raise StoppedByProblem
    images = expand_folders(named, IMAGE_ENDINGS, (), problems)
    earlier = set(earlier_results(images, out)).difference(named)
    left = [path for path in images if path not in earlier]
    if earlier and not left:
        raise EmptyFolderError(f"{out}: all images in this folder are pictures of earlier results")
    if earlier:
        what = f"left out {counted(len(earlier), 'picture')} of earlier results"
        problems.remark(out, what, "earlier results")
    return left
