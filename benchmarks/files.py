"""Write the arrays of a workload to files that the workers read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .cases import Case
from .peers import Entry
from .workloads import Data, Workload


class DataFiles:
    """The arrays of a workload in a folder, and the requests that refer to them."""

    def __init__(self, workload: Workload, data: Data, folder: Path) -> None:
        self.workload, self.data, self.folder = workload, data, folder
        for index, array in enumerate(data.maps):
            np.save(self._path(f"map-{index}"), array)
        np.save(self._path("rois"), data.rois)
        np.save(self._path("level_of_roi"), data.level_of_roi)
        if data.grad_output is not None:
            np.save(self._path("grad_output"), data.grad_output)

    def request(self, entry: Entry) -> dict[str, Any]:
        """Return the fields of a worker's "prepare" request."""
        case = entry.case
        backward = case.direction != "forward"
        return {
            "case": {
                "layout": case.layout,
                "dtype": case.dtype,
                "sampling": case.sampling,
                "direction": case.direction,
                "threads": case.threads,
                "operator": case.operator,
            },
            "output": entry.output,
            "maps": [self._path(f"map-{index}") for index in range(len(self.data.maps))],
            "scales": [level.scale for level in self.workload.levels],
            "rois": self._path("rois"),
            "level_of_roi": self._path("level_of_roi"),
            "grad_output": self._path("grad_output") if backward else None,
            "output_size": list(self.workload.output_size),
            "surrounded": self.workload.surrounded,
        }

    def write_rows(self, rows: Any, case: Case) -> str | None:
        """Write the selected RoIs to a file. None means all."""
        if rows is None:
            return None
        path = self._path(f"rows-{case.dtype}-{case.sampling}")
        np.save(path, rows)
        return path

    def answer_prefix(self) -> str:
        return str(self.folder / "answer")

    def _path(self, name: str) -> str:
        return str(self.folder / f"{name}.npy")
