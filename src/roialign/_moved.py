"""Aliases for modules that have moved, so that their old names can still be imported.

An old name stays as long as a release that had it is in use. The module is imported only when its old name is used.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any

#: The current name of each old name.
MOVED = {
    "roialign.cli": "roialign.commands.main",
    "roialign.commands.options": "roialign.commands.extract_options",
    "roialign.cpu": "roialign.numpy.cpu.separable",
    "roialign.cpu_pointwise": "roialign.numpy.cpu.pointwise",
    "roialign.detection.records": "roialign.files.coco",
    "roialign.extract.app": "roialign.commands.app",
    "roialign.extract.boxes": "roialign.files.boxes",
    "roialign.extract.doubts": "roialign.files.doubts",
    "roialign.extract.drawing": "roialign.files.drawing",
    "roialign.extract.folders": "roialign.files.folders",
    "roialign.extract.info": "roialign.commands.info",
    "roialign.extract.options": "roialign.commands.extract_options",
    "roialign.extract.problems": "roialign.files.problems",
    "roialign.extract.tables": "roialign.commands.tables",
    "roialign.features.readers": "roialign.features.image_readers",
    "roialign.features.reading": "roialign.features.shard_reading",
    "roialign.reference.pointwise_backend": "roialign.reference.backend",
    "roialign.torch.export_points": "roialign.torch.export.pointwise",
    "roialign.torch.point_modules": "roialign.torch.modules",
}


class _Alias:
    """A loader that returns the current module under its old name."""

    def create_module(self, spec: ModuleSpec) -> None:
        """Create the default empty module, which `exec_module` replaces."""

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = import_module(MOVED[module.__name__])

    def get_code(self, name: str) -> CodeType:
        """Return the code that ``python -m`` runs."""
        return compile(f"import runpy; runpy.run_module({MOVED[name]!r}, run_name='__main__')", name, "exec")


class _Finder:
    """A finder for `sys.meta_path`. It does not use the abstract base classes, which are slow to import."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if name not in MOVED:
            return None
        today = import_module(MOVED[name]).__spec__
        loader: Any = _Alias()
        return ModuleSpec(name, loader, origin=today.origin if today else None)


def install() -> None:
    """Make the old names importable."""
    sys.meta_path.append(_Finder())
