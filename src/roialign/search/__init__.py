"""Search in region features: which regions of a set of images are most like some region of another image.

:mod:`.folders` reads what :mod:`roialign.features` has written, :mod:`.exact` finds the nearest vectors, exactly,
:mod:`.queries` computes the features of other regions as those of the folder were computed, and :mod:`.sheets` draws
what was found.
"""

from .exact import RegionIndex, nearest
from .folders import FeatureFolder, Region
from .queries import Encoder
from .sheets import draw_sheet

__all__ = ["Encoder", "FeatureFolder", "Region", "RegionIndex", "draw_sheet", "nearest"]
