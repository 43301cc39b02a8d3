"""``python -m benchmarks.gpu``: see :mod:`benchmarks.gpu.measure`."""

from __future__ import annotations

from .measure import main

raise SystemExit(main())
