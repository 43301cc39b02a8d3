"""The pixels of an image as a feature map."""

from __future__ import annotations

from collections.abc import Sequence

from .._typing import Array
from .backbone import NO_TOKENS, Backbone, BackboneOptions, Map, chosen_normalisation, chosen_size, refuse


class PixelBackbone(Backbone):
    """RGB pixels from 0 to 255, with stride 1. Images are not resized unless a size is given."""

    def __init__(self, options: BackboneOptions) -> None:
        refuse(options, "pixels", device="cpu", precision="float32", channels_last=False, weights=None, **NO_TOKENS)
        self.strides, self.channels = (1,), (3,)
        self.image_size = chosen_size(options, 0, 1)
        if options.image_size is None:
            self.image_size = type(self.image_size)()
        self.normalisation = chosen_normalisation(options, "none")

    def maps(self, images: Array, levels: Sequence[int]) -> list[Map]:
        self.warn_of_range(images)
        return [self.normalisation(images) for _ in levels]

    def facts(self) -> dict[str, object]:
        return {}
