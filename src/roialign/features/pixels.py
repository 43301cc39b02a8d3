"""The pixels themselves as the map of an image."""

from __future__ import annotations

from collections.abc import Sequence

from .._typing import Array
from .backbone import Backbone, BackboneOptions, Map, chosen_normalisation, chosen_size, refuse


class PixelBackbone(Backbone):
    """Red, green and blue from 0 to 255 at stride 1, of images as large as they are unless a size is asked for."""

    def __init__(self, options: BackboneOptions) -> None:
        refuse(options, "pixels", device="cpu", precision="float32", channels_last=False, weights=None)
        self.strides, self.channels = (1,), (3,)
        self.image_size = chosen_size(options, 0, 1)
        if options.image_size is None:
            self.image_size = type(self.image_size)()
        self.normalisation = chosen_normalisation(options, "none")

    def maps(self, images: Array, levels: Sequence[int]) -> list[Map]:
        return [self.normalisation(images) for _ in levels]

    def facts(self) -> dict[str, object]:
        return {}
