"""Search in region features: finds the regions of many images that are most similar to a region of another image.

:mod:`.folders` reads the results of :mod:`roialign.features`, :mod:`.exact` finds the nearest vectors exactly,
:mod:`.queries` computes the features of query regions in the same way as those of a folder, and :mod:`.sheets` draws
the regions found.
"""

from .exact import RegionIndex, nearest
from .folders import FeatureFolder, Region
from .queries import Encoder
from .sheets import draw_sheet

__all__ = ["Encoder", "FeatureFolder", "Region", "RegionIndex", "draw_sheet", "nearest"]
