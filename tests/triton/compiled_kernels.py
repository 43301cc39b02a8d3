"""Compiles the kernels for a GPU that need not be there, and prints what became of each: a line of JSON, with the part
that was asked for.

In a process of its own: Triton's interpreter, in which the other tests run, keeps it from compiling.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from typing import Any

import triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from roialign._spec import BORDER_OF_RULE
from roialign.triton import launch, order, separable, separable_features, shares, taps, tiles

HOPPER = GPUTarget("cuda", 90, 32)
FLOATS = {"fp16": 2, "bf16": 2, "fp32": 4}


def compiled(kernel: Any, arguments: dict[str, Any], constants: dict[str, Any], **options: Any) -> dict[str, Any]:
    signature: dict[str, Any] = {name: constants.get(name) and "constexpr" for name in kernel.arg_names}
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    signature.update(dict.fromkeys(constants, "constexpr"), **arguments)
    aligned: dict[tuple[int, ...], Any] = {}
    for place, name in enumerate(kernel.arg_names):
        of_tuple = isinstance(signature[name], tuple)
        for index, kind in enumerate(signature[name] if of_tuple else (signature[name],)):
            if str(kind).startswith("*"):
                aligned[(place, index) if of_tuple else (place,)] = [["tt.divisibility", 16]]
    source = ASTSource(fn=kernel, signature=signature, constexprs=places, attrs=aligned)
    binary = triton.compile(source, target=HOPPER, options=options)
    # Products of numbers that may each fit 32 bits, and together not.
    narrow = re.findall(r"muli %(?:kind_size|row_size)\b.*: i32", binary.asm["ttir"])
    name, facts = kernel.fn.__name__, facts_of(binary.asm["ptx"]) | {"narrow products": len(narrow)}
    return {"kernel": name, "ptx": facts, "resources": resources(binary), "last store": last_store(binary.asm["ttgir"])}


def last_store(code: str) -> list[int]:
    """The threads of a warp along each axis of the block that the last store writes."""
    *_, layout = re.findall(r"tt\.store .*(#blocked\d*)>", code) or [""]
    threads = re.search(rf"^{layout} = .*threadsPerWarp = \[([\d, ]+)\]", code, re.MULTILINE)
    return [int(count) for count in threads[1].split(",")] if threads else []


def facts_of(ptx: str) -> dict[str, int]:
    patterns = {
        "float64 fused": r"fma\.rn\.f64",
        "TF32": "tf32",
        "atomics": r"\b(atom|red)\.",
        "16-byte loads": r"ld\.global[\w.]*\.v4\.b32",
        "16-byte stores": r"st\.global[\w.]*\.v4\.b32",
        "shared memory": r"\b(ld|st)\.shared",
        "float32 divisions": r"div\.\w+\.f32",
    }
    return {name: len(re.findall(pattern, ptx)) for name, pattern in patterns.items()}


def resources(binary: Any) -> dict[str, int]:
    """Registers and stack of a thread, as the assembler reports them."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary.asm["cubin"])
        file.flush()
        command = [knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        report = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    return {name: int(re.findall(rf"{name}:(\d+)", report)[-1]) for name in ("REG", "STACK")}


def all_kernels(element: str, channels_last: bool, levels: int = 4) -> list[dict[str, Any]]:
    maps, integers = ("*" + element,) * levels, ("i32",) * levels
    size = FLOATS[element]
    vector = 16 // size if channels_last else 1
    tables = {"weights": "*fp32", "spans": "*i32"}
    numbers = dict.fromkeys(("row_size", "kind_size", "channels"), "i32")
    places = {"places": "*i32", "order": "*i32", "has_order": "i32"}
    gradient = {"grad_output": "*" + element, "grad_strides": ("i32",) * 4}
    family = {"PH": 7, "PW": 7, "KINDS": 1, "CHANNELS_LAST": channels_last, "LEVELS": levels, "VECTOR": vector}
    features = {"features": maps, "strides": (integers,) * 4}
    block, boxes = launch.FORWARD[channels_last][size], launch.BOXES[channels_last][size]
    columns = 8 if channels_last else 32
    of_rows = {"ROWS": block.bins, "COLUMNS": columns, "CHANNELS": block.channels * (2 if channels_last else 1)}
    tile = launch.FEATURES[channels_last][size]
    sizes = {"heights": integers, "widths": integers}
    of_tiles = {**dict.fromkeys(("touched", "counts", "shares"), "*i32"), "partial": "*fp32", "first_tiles": integers}
    of_tiles |= {"strides": (integers,) * 4, "words": "i32", "slots": "i32"}
    of_tile = {"TILE_Y": tile.rows, "TILE_X": tile.columns, "CHANNELS": tile.channels, "ADDS": False}
    return [
        compiled(
            separable.forward_kernel,
            {**features, **tables, **places, **numbers, "out": "*" + element, "out_strides": ("i32",) * 4}
            | {"fill_bits": "i64"},
            {**family, "OUT_VECTOR": vector, "HAS_FILL": False} | of_rows,
            num_warps=block.warps,
        ),
        compiled(
            separable.adjoint_boxes_kernel,
            {**features, **tables, **places, **numbers, **gradient, "partial": "*fp64"},
            {**family, "GRAD_VECTOR": vector, "BINS": boxes.bins, "CHANNELS": boxes.channels},
            num_warps=boxes.warps,
        ),
        compiled(
            separable_features.adjoint_features_kernel,
            {**tables, **numbers, **gradient, **sizes, **of_tiles, "grad_features": maps},
            {**family, "GRAD_VECTOR": vector, "BINS": launch.BINS_AT_ONCE, **of_tile}
            | dict.fromkeys(("BINS_Y", "BINS_X"), launch.LANES),
            num_warps=tile.warps,
            maxnreg=launch.FEATURES_REGISTERS,
        ),
        compiled(
            shares.sum_shares_kernel,
            {name: kind for name, kind in of_tiles.items() if name not in ("touched", "counts", "words", "slots")}
            | {**sizes, "grad_features": maps, "channels": "i32"},
            {
                "CHANNELS_LAST": channels_last,
                "PLANAR": not channels_last,
                "LEVELS": levels,
                "VECTOR": vector,
                "PARTS": 1,
            }
            | of_tile,
            num_warps=tile.warps,
        ),
        compiled(
            shares.shares_kernel,
            {"counts": "*i32", "shares": "*i32", "tiles": "i32", "slots": "i32"},
            {"TILES": launch.SHARES_TILES, "AT_ONCE": launch.SHARES_AT_ONCE},
            num_warps=launch.SHARES_WARPS,
        ),
        compiled(
            tiles.tiles_kernel,
            {"places": "*i32", "touched": "*i32", "counts": "*i32", **sizes, "first_tiles": integers}
            | {"first_strips": integers, "count": "i32", "words": "i32"},
            {"TILE_Y": tile.rows, "TILE_X": tile.columns, "LEVELS": levels}
            | {"TILES": launch.MASK_TILES, "WORDS": launch.MASK_WORDS},
            num_warps=launch.MASK_WARPS,
        ),
        compiled(
            order.order_kernel,
            {"places": "*i32", "order": "*i32", "count": "i32"},
            {"ROWS": launch.ORDER_ROWS, "OTHERS": launch.ORDER_OTHERS},
            num_warps=launch.ORDER_WARPS,
        ),
    ]


def table_kernel(rule: str, border: str, tangents: int, keeps: bool) -> dict[str, Any]:
    integers = dict.fromkeys(
        ("images", "ratio_y", "ratio_x", "seed_low", "seed_high", "first_row", "reach_y", "row_size", "kind_size"),
        "i32",
    )
    arguments = {"rois": "*fp32", "levels": "*i64", "tangents": ("*fp64",) * max(tangents, 1), "weights": "*fp32"}
    arguments |= {"spans": "*i32", "places": "*i32", "heights": ("i32",), "widths": ("i32",), "scales": ("i64",)}
    arguments |= {"canonical": ("i64", "i64"), "strides_log2": ("i32",), "offset_bits": "i64", "minimum_bits": "i64"}
    constants = {"PH": 7, "PW": 7, "RULE": rule, "BORDER": border, "NORMALISED": rule in ("crop", "nearest")}
    constants |= {"TANGENTS": tangents, "KEEPS": keeps, "COLUMNS": 5, "HAS_LEVELS": False, "LEVELS": 1}
    constants |= {"BINS": 8, "PIXELS": launch.TABLE_PIXELS}
    options = {"num_warps": launch.TABLE_WARPS, "enable_fp_fusion": False}
    return compiled(taps.taps_kernel, {**arguments, **integers}, constants, **options)


def all_tables() -> list[dict[str, Any]]:
    answers = [table_kernel(rule, border, 0, False) for rule, border in BORDER_OF_RULE.items()]
    return [*answers, table_kernel("exact", "replicate", 2, False), table_kernel("exact", "replicate", 1, True)]


if __name__ == "__main__":
    for part in sys.argv[1:]:
        element, _, layout = part.partition(" ")
        for answer in all_tables() if part == "tables" else all_kernels(element, layout == "channels_last"):
            print(json.dumps([part, answer]))  # noqa: T201
