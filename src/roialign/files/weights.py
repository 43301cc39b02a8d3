"""Reads checkpoints without running what they say: what is in them, and in our own words what they are else."""

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
from .kinds import HEAD_BYTES, check_readable, what_is
from .problems import FileError
from .text import quoted

#: Under what names checkpoints keep their weights.
CONTAINERS = ("model", "state_dict", "model_state_dict", "model_state", "weights", "net", "model_ema", "ema")
#: What wrappers put before the names of weights: of processes, compilation, averages, Lightning and others.
WRAPPERS = ("module", "_orig_mod")
PREFIXES = ("model.", "net.", "network.", "detector.")
#: What an average of weights counts.
AVERAGED = "n_averaged"
#: How the names begin of what tensors are made of.
KNOWN_GLOBALS = ("torch.", "collections.", "argparse.Namespace")
SAVE_OWN = "save it by roialign.detection.save_model(path, model, settings)"
SAVE = "torch.save(model.state_dict(), 'weights.pt')"
#: How the files begin that torch.save wrote before its archives, and any pickle.
OLDER_FILE, ANY_PICKLE = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", b"\x80"
#: Of a pickle that is no zip archive, so much is looked through.
PICKLE_BYTES = 1 << 22


def read_checkpoint(path: Path) -> Any:
    """What `torch.save` has written, read without running code of the file.

    The options that training scripts save beside the weights, an ``argparse.Namespace``, hold values only and are read.

    Raises
    ------
    FileError
        Saying what the file is, and what to do about it.
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
            warnings.simplefilter("ignore")  # about how the file was made
            return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError as error:
        raise FileError("not enough memory to read it") from error
    except Exception as error:  # the bytes of a file lead torch's readers anywhere
        raise FileError(_why(path, head, error)) from error


def state_dict_of(content: Any) -> dict[str, Tensor]:
    """The weights of a checkpoint by name, out of what it keeps them in and without what wrappers call them.

    Raises
    ------
    FileError
        Where there are none.
    """
    for _ in range(4):
        if not isinstance(content, Mapping) or (content and all(isinstance(v, Tensor) for v in content.values())):
            break
        inner = [name for name in CONTAINERS if isinstance(content.get(name), Mapping)]
        if not inner:
            break
        content = content[inner[0]]
    if not isinstance(content, Mapping):
        raise FileError(f"expected weights by name, found {_named(content)}: save {SAVE}")
    wrong = [name for name, value in content.items() if not isinstance(value, Tensor) or not isinstance(name, str)]
    if wrong or not content:
        holds = f"{quoted(wrong[0])} is {_named(content[wrong[0]])}" if wrong else "there are none"
        raise FileError(f"expected weights by name, but {holds}: save {SAVE}")
    return unwrapped(content)


def unwrapped(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names that they have in the model itself.

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
            raise FileError(f"a TorchScript program, not weights: save {SAVE}")
        if not any(name.endswith("data.pkl") for name in names):
            kind = "arrays of NumPy" if names and all(name.endswith(".npy") for name in names) else "no file of torch"
            raise FileError(f"a zip archive with {kind} in it: save {SAVE}")
        check_archive(path)
    elif known == "a safetensors file":
        convert = "torch.save(safetensors.torch.load_file('weights.safetensors'), 'weights.pt')"
        raise FileError(f"a safetensors file: convert it by {convert}")
    elif known is not None:
        raise FileError(known)


def _why(path: Path, head: bytes, error: Exception) -> str:
    """What stands in the way, from the pickle rather than from what torch says of it."""
    name = _foreign(path, str(error))
    if name is None:
        protocol = re.search(rb"\A\x80([\x03-\x05])", _pickle(path))
        if protocol is not None and "operand" in str(error):
            return f"pickled by protocol {protocol[1][0]}, which torch does not read without running code: save {SAVE}"
        if _members(path) is not None or OLDER_FILE.startswith(head[: len(OLDER_FILE)]):
            return "damaged or cut short: copy or download it again"
        kind = "a pickle that torch.save has not written" if head.startswith(ANY_PICKLE) else "no file of torch"
        return f"{kind}: save {SAVE}"
    if name.startswith("roialign."):
        return f"a whole model, {name}, saved with its code and not as weights: where it was made, {SAVE_OWN}"
    if b"torch.nn.modules" in _pickle(path):
        return f"a whole model, {name}, saved with its code and not as weights: where it was made, save {SAVE}"
    besides = "which only running code of the file could read"
    return f"it holds {name} besides weights, {besides}: where it was made, save the weights alone, {SAVE}"


def _foreign(path: Path, said: str) -> str | None:
    """What the pickle names that is no part of weights, as torch says or as is seen; None where there is nothing."""
    named = re.search(r"GLOBAL ([\w.]+) (?:was not an allowed|whose module)", said)
    if named is not None:
        return named[1]
    if not re.search("operand|Can only|function", said):
        return None
    with suppress(Exception):  # bytes that are damaged lead pickletools anywhere
        return next((name for name in _globals(_pickle(path)) if not name.startswith(KNOWN_GLOBALS)), None)
    return None


def _globals(pickled: bytes) -> Iterator[str]:
    """The names that a pickle looks up, in their order, without looking them up."""
    memo: list[str | None] = []  # of everything that it may refer to again, what is text
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
    """The names in an archive; None where it is none, or is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except Exception:  # of bytes that are damaged, anything
        return None


def _pickle(path: Path) -> bytes:
    """The beginning of the pickle that says what is in the file; nothing where it cannot be read."""
    names = _members(path)
    try:
        if names is None:
            with path.open("rb") as file:
                return file.read(PICKLE_BYTES)
        with zipfile.ZipFile(path) as archive, archive.open(next(n for n in names if n.endswith("data.pkl"))) as file:
            return file.read(PICKLE_BYTES)
    except Exception:  # of bytes that are damaged, anything
        return b""


def _named(value: object) -> str:
    kind = type(value).__name__
    return quoted(value) if isinstance(value, (int, float, str)) or value is None else f"a {kind}"
