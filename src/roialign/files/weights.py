"""Reads checkpoints without running code from them, with error messages that say what a file contains instead."""

from __future__ import annotations

import argparse
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .archives import check_archive
from .kinds import HEAD_BYTES, OLDER_TORCH, check_readable, is_text, what_is
from .problems import FileError
from .text import quoted

#: The keys under which checkpoints store their weights.
CONTAINERS = ("model", "state_dict", "model_state_dict", "model_state", "weights", "net", "model_ema", "ema")
#: Prefixes that wrappers add to the names of weights: data parallelism, compilation, averaging, Lightning and others.
WRAPPERS = ("module", "_orig_mod")
PREFIXES = ("model.", "net.", "network.", "detector.")
#: The counter that `torch.optim.swa_utils.AveragedModel` stores beside the weights.
AVERAGED = "n_averaged"
#: Prefixes of the names that a pickle of tensors uses.
KNOWN_GLOBALS = ("torch.", "collections.", "argparse.Namespace")
SAVE_OWN = "save it with roialign.detection.save_model(path, model, settings)"
NEEDS_CODE = "which cannot be read without running code from the file"
SAVE = "write the weights with torch.save(model.state_dict(), 'weights.pt')"
#: The first byte of a pickle.
ANY_PICKLE = b"\x80"
#: The name of a class or function, with its modules.
NAME = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
#: The number of bytes of a pickle to search.
PICKLE_BYTES = 1 << 22


def read_checkpoint(path: Path) -> Any:
    """Read a file of `torch.save` without running code from it.

    Training scripts often save their options with the weights as an ``argparse.Namespace``. It holds values only, and
    it is read too.

    Raises
    ------
    FileError
        If the file cannot be read. The message says what it is and what to do.
    """
    check_readable(path)
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise FileError(error.strerror or str(error)) from error
    _check_kind(path, head)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")  # about how the file was written
            return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError as error:
        raise FileError("not enough memory to read it") from error
    except Exception as error:  # damaged files raise many kinds of errors in PyTorch
        raise FileError(_reason(path, head, error)) from error


def state_dict_of(content: Any) -> dict[str, Tensor]:
    """Return the weights of a checkpoint by name, without containers and prefixes of wrappers.

    Raises
    ------
    FileError
        If the checkpoint contains anything but weights, or no weights.
    """
    for _ in range(4):
        if not isinstance(content, Mapping) or (content and all(isinstance(v, Tensor) for v in content.values())):
            break
        inner = [name for name in CONTAINERS if isinstance(content.get(name), Mapping)]
        if not inner:
            break
        content = content[inner[0]]
    if not isinstance(content, Mapping):
        raise FileError(f"expected weights by name, found {_named(content)}: {SAVE}")
    wrong = [name for name, value in content.items() if not isinstance(value, Tensor) or not isinstance(name, str)]
    if wrong or not content:
        holds = f"{quoted(wrong[0])} is {_named(content[wrong[0]])}" if wrong else "there are none"
        raise FileError(f"expected weights by name, but {holds}: {SAVE}")
    return unwrapped(content)


def unwrapped(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Remove the prefixes that wrappers add to the names of weights.

    >>> list(unwrapped({"module.fc.weight": torch.zeros(1), "n_averaged": torch.tensor(3)}))
    ['fc.weight']
    """
    bare = {
        ".".join(part for part in name.split(".") if part not in WRAPPERS): value
        for name, value in weights.items()
        if name != AVERAGED
    }
    for prefix in PREFIXES:
        if bare and all(name.startswith(prefix) for name in bare):
            bare = {name.removeprefix(prefix): value for name, value in bare.items()}
    return bare


def _check_kind(path: Path, head: bytes) -> None:
    known = what_is(head)
    if known == "a zip archive":
        names = _members(path)
        if names is None:
            raise FileError("cut short or damaged: its table of contents is missing; copy or download it again")
        if any(name.endswith("constants.pkl") for name in names):
            raise FileError(f"a TorchScript program, not weights: {SAVE}")
        if not any(name.endswith("data.pkl") for name in names):
            of_numpy = names and all(name.endswith(".npy") for name in names)
            kind = "a zip archive of NumPy arrays" if of_numpy else "a zip archive that torch.save did not write"
            raise FileError(f"{kind}: {SAVE}")
        check_archive(path)
    elif known == "a safetensors file":
        convert = "torch.save(safetensors.torch.load_file('weights.safetensors'), 'weights.pt')"
        raise FileError(f"a safetensors file: convert it with {convert}")
    elif known is not None:
        raise FileError(known)


def _reason(path: Path, head: bytes, error: Exception) -> str:
    """Return why a file cannot be read, according to its pickle rather than to PyTorch's message."""
    # Anything else can be parsed as a pickle, and then parts of it look like names.
    is_pickle = head.startswith(ANY_PICKLE) or what_is(head) == "a zip archive"
    name = _foreign_name(path, str(error)) if is_pickle else None
    if name is None:
        protocol = re.search(rb"\A\x80([\x03-\x05])", _pickle(path))
        if protocol is not None and "operand" in str(error):
            return f"pickled with protocol {protocol[1][0]}, {NEEDS_CODE}: {SAVE}"
        if _members(path) is not None or OLDER_TORCH.startswith(head[: len(OLDER_TORCH)]):
            return "damaged or cut short: copy or download it again"
        kind = "a pickle" if head.startswith(ANY_PICKLE) else "a text file" if is_text(head) else "a file"
        return f"{kind} that torch.save did not write: {SAVE}"
    if name.startswith("roialign."):
        return f"a pickled model, {name}, not weights: where it was created, {SAVE_OWN}"
    if b"torch.nn.modules" in _pickle(path):
        return f"a pickled model, {name}, not weights: where it was created, {SAVE}"
    return f"it contains {name} besides weights, {NEEDS_CODE}: where it was created, {SAVE}"


def _foreign_name(path: Path, message: str) -> str | None:
    """Return the first name in the pickle that weights do not need, from PyTorch's message or from the pickle."""
    named = re.search(rf"GLOBAL ({NAME}) (?:was not an allowed|whose module)", message)
    if named is not None:
        return named[1]
    if not re.search("operand|Can only|function", message):
        return None
    with suppress(Exception):  # damaged bytes raise many kinds of errors in pickletools
        names = (name for name in _globals(_pickle(path)) if re.fullmatch(NAME, name))
        return next((name for name in names if not name.startswith(KNOWN_GLOBALS)), None)
    return None


def _globals(pickled: bytes) -> Iterator[str]:
    """Yield the names that a pickle would import, in order, without importing them."""
    memo: list[str | None] = []  # the memoised values that are text
    top: str | None = None
    words = ["", ""]
    for code, argument, _ in pickletools.genops(pickled):
        if code.name == "MEMOIZE":
            memo.append(top)
            continue
        if isinstance(argument, int) and code.name in ("BINGET", "LONG_BINGET"):
            top = memo[argument] if argument < len(memo) else None
        else:
            top = argument if isinstance(argument, str) and "UNICODE" in code.name else None
        if code.name in ("GLOBAL", "INST"):
            yield str(argument).replace(" ", ".")
        elif code.name == "STACK_GLOBAL":
            yield ".".join(words)
        elif top is not None:
            words = [words[1], top]


def _members(path: Path) -> list[str] | None:
    """Return the names of the members of an archive; None if the file is not an archive or is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except Exception:  # damaged files raise many kinds of errors
        return None


def _pickle(path: Path) -> bytes:
    """Return the beginning of the pickle in the file; empty if it cannot be read."""
    names = _members(path)
    try:
        if names is None:
            with path.open("rb") as file:
                return file.read(PICKLE_BYTES)
        with zipfile.ZipFile(path) as archive, archive.open(next(n for n in names if n.endswith("data.pkl"))) as file:
            return file.read(PICKLE_BYTES)
    except Exception:  # damaged files raise many kinds of errors
        return b""


def _named(value: object) -> str:
    kind = type(value).__name__
    return quoted(value) if isinstance(value, (int, float, str)) or value is None else f"a {kind}"
