"""The versions and backends of this installation as a table, for bug reports."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from rich.table import Table

from .. import __version__
from .._runtime import FACTS
from .readiness import BACKEND_NAMES, why_not

#: The optional packages. Only NumPy is required.
PACKAGES = (
    "ml_dtypes",
    "torch",
    "triton",
    "pillow",
    "matplotlib",
    "typer",
    "rich",
    "pycocotools",
    "scikit-learn",
    "tensorboard",
    "pyarrow",
    "safetensors",
    "onnxruntime",
    "transformers",
    "timm",
)


def info_table() -> Table:
    """Return a table of versions, the instruction set, threads, and backends, with the reason if one is unavailable."""
    table = Table(title=f"roialign {__version__}", title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in (*_build(), *_packages(), *_backends()):
        table.add_row(name, value)
    return table


def _build() -> Iterator[tuple[str, str]]:
    for name, read in FACTS.items():
        try:
            value = read()
        except ImportError:  # the row of the backend has the reason
            continue
        except ValueError as error:
            value = str(error)
        if name != "version":
            yield name.replace("_", " "), ", ".join(value) if isinstance(value, list) else str(value)


def _packages() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            yield name, "not installed"


def _backends() -> Iterator[tuple[str, str]]:
    for name in BACKEND_NAMES:
        yield f"backend {name}", why_not(name) or "ready"
