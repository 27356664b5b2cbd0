"""A device that isn't there: tensors that compute on the CPU, but mix with the CPU's as a GPU's do.

A tensor ``there`` says it is on the device ``ELSEWHERE`` and holds an ordinary tensor inside. An
operation that is given tensors of both places raises ``MixedDevices``, as CUDA does (a 0-d tensor
of the CPU may go along, as on CUDA); ``.to`` carries tensors over and back; reading a number
(``.item()``, ``.tolist()`` of a tensor there) is counted, since a GPU would have to be waited for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

ELSEWHERE = torch.device("meta")
"""torch runs autograd of "meta" tensors without a driver; these hold data all the same."""
READS = ("aten::_local_scalar_dense",)


class MixedDevices(RuntimeError):
    """An operation was given tensors of two devices."""


class There(Tensor):
    """A tensor on the device that isn't there; ``inside`` is where its numbers are."""

    inside: Tensor

    @staticmethod
    def __new__(cls, inside: Tensor, requires_grad: bool = False) -> There:
        self = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, inside.size(), strides=inside.stride(), storage_offset=inside.storage_offset(),
            dtype=inside.dtype, device=ELSEWHERE, requires_grad=requires_grad,
        )  # fmt: skip
        self.inside = inside
        return self

    @classmethod
    def __torch_dispatch__(
        cls, operation: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        return _dispatch(operation, arguments, options or {})

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Written to a file as the tensor inside, as a GPU's are read back on the CPU."""
        return self.inside.__reduce_ex__(protocol)

    def __repr__(self) -> str:  # type: ignore[override]
        return f"There({self.inside!r})"


class Elsewhere(TorchDispatchMode):
    """While it is on, ``.to(ELSEWHERE)`` and ``device=ELSEWHERE`` give tensors there.

    Attributes:
        reads: how often a number was read from a tensor there.
    """

    reads = 0

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        if operation._schema.name in READS and isinstance(arguments[0], There):
            self.reads += 1
        return _dispatch(operation, arguments, options or {})


@contextlib.contextmanager
def elsewhere() -> Iterator[Elsewhere]:
    """The device that isn't there, for modules too."""
    swap = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        with Elsewhere() as mode:
            yield mode
    finally:
        torch.__future__.set_swap_module_params_on_conversion(swap)


def _dispatch(operation: Any, arguments: Any, options: dict[str, Any]) -> Any:
    given = [x for x in tree_flatten((arguments, options))[0] if isinstance(x, Tensor)]
    there = any(isinstance(x, There) for x in given)
    name = operation._schema.name
    if name == "aten::_has_compatible_shallow_copy_type":  # asked before a module is moved
        return len({type(x) for x in given}) == 1
    carries = name in ("aten::_to_copy", "aten::copy_")
    if there and not carries:
        strangers = [x for x in given if not isinstance(x, There) and x.dim() > 0]
        if strangers:
            raise MixedDevices(f"{name} was given tensors of two devices")
    target = options.get("device")
    if target is not None:
        there = torch.device(target) == ELSEWHERE
        options = {**options, "device": torch.device("cpu") if there else target}
    elif name == "aten::copy_":
        there = isinstance(arguments[0], There)
    inner = tree_map(_inside, (arguments, options))
    with torch._C._DisableTorchDispatch():
        result = operation(*inner[0], **inner[1])
    return _outside(operation, arguments, result, there)


def _inside(value: Any) -> Any:
    return value.inside if isinstance(value, There) else value


def _outside(operation: Any, arguments: Any, result: Any, there: bool) -> Any:
    """Results as tensors there; what an operation writes into is given back as it was given."""
    if not there:
        return result
    same = {id(_inside(x)): x for x in tree_flatten(arguments)[0] if isinstance(x, There)}

    def outside(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return same.get(id(value)) if id(value) in same else There(value)

    return tree_map(outside, result)
