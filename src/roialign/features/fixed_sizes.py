"""Image sizes of networks from files, whose input may have a fixed height or width."""

from __future__ import annotations

from .backbone import BackboneOptions, ImageSize, chosen_size


def size_of_input(
    options: BackboneOptions, name: str, own: tuple[int | None, int | None], default: int, multiple: int
) -> ImageSize:
    """Return the image size for an input of this height and width, of which None is any.

    `default` and `multiple` are those of :func:`chosen_size`, for an input of any height and width.

    Raises
    ------
    ValueError
        If the options have another size, or have no width for a fixed height, or the reverse.
    """
    height, width = own
    if height is None and width is None:
        return chosen_size(options, default, multiple)
    size = options.image_size
    if height is not None and width is not None and size is None:
        return ImageSize(fixed=(height, width))
    if isinstance(size, tuple) and all(side in (None, given) for side, given in zip(own, size, strict=True)):
        return ImageSize(fixed=size)
    expected = f"{height or 'HEIGHT'}x{width or 'WIDTH'}"
    hint = "" if None not in own else f", because one side of its images is fixed; give --image-size {expected}"
    raise ValueError(f"image-size: expected {expected} for {name!r}, got {size}{hint}")
