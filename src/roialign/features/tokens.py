"""Views the tokens of a vision transformer as a map."""

from __future__ import annotations

from .. import _validate
from .._typing import AnyArray
from .backbone import BackboneError


def tokens_to_map(tokens: AnyArray, grid: tuple[int, int], prefix_tokens: int) -> AnyArray:
    """View the tokens of the patches of images as a map, without a copy.

    Concretely, ``out[n, c, i, j]`` is ``tokens[n, prefix_tokens + i * grid[1] + j, c]``.

    Parameters
    ----------
    tokens : ``[N, L, C]``
        A NumPy array or a PyTorch tensor.
    grid : (rows, columns)
        The numbers of rows and columns of patches.
    prefix_tokens : int
        The number of tokens before those of the patches, such as class and register tokens.

    Returns
    -------
    ``[N, C, rows, columns]``
        A view, with channels last in memory.

    Raises
    ------
    ValueError
        If the number of tokens is not ``prefix_tokens + rows * columns``.
    TypeError
        If an argument is of the wrong type.

    Examples
    --------
    >>> import numpy as np
    >>> from roialign.features import tokens_to_map
    >>> tokens_to_map(np.zeros((1, 5, 8)), (2, 2), 1).shape
    (1, 8, 2, 2)
    """
    if not hasattr(tokens, "ndim"):
        raise TypeError(f"tokens: expected an array or a tensor [N, L, C], got {type(tokens).__name__}")
    if tokens.ndim != 3:
        raise ValueError(f"tokens: expected [N, L, C], got shape {list(tokens.shape)}")
    count, (rows, columns) = tokens.shape[1], _validate.check_pair(grid, "grid", 0)
    prefix_tokens = _validate.check_int(prefix_tokens, "prefix_tokens", 0)
    if count != prefix_tokens + rows * columns:
        raise ValueError(
            f"tokens: expected {prefix_tokens} prefix tokens and {rows} x {columns} patches, "
            f"{prefix_tokens + rows * columns} in all, got {count}"
        )
    patches = tokens[:, prefix_tokens:].reshape(tokens.shape[0], rows, columns, tokens.shape[2])
    return patches.swapaxes(2, 3).swapaxes(1, 2)  # type: ignore[no-any-return]


def tokens_of_backbone(
    tokens: AnyArray, size: tuple[int, int], prefix_tokens: int | None, patch_size: int | None, name: str
) -> AnyArray:
    """View the tokens that a backbone returns for images of this height and width as a map.

    Raises
    ------
    BackboneError
        If `prefix_tokens` or `patch_size` is None, or does not fit the number of tokens.
    """
    if prefix_tokens is None or patch_size is None:
        got = f"{prefix_tokens} and {patch_size} for {name!r}"
        raise BackboneError.of("--prefix-tokens and --patch-size for tokens [N, L, C]", got)
    try:
        return tokens_to_map(tokens, (size[0] // patch_size, size[1] // patch_size), prefix_tokens)
    except ValueError as error:
        raise BackboneError(f"backbone: {error} from {name!r}") from error
