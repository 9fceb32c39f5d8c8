"""The inputs of every linear map of a module, seen below autograd: whatever multiplies rows by a stored matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

ATEN = torch.ops.aten
ROWS = {ATEN.mm.default: 0, ATEN.bmm.default: 0, ATEN.addmm.default: 1}  # where the rows stand; the matrix is next


class Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is active, adds X'X of each map's inputs X to `total` by the name of its matrix.

    inputs_first: the names of matrices stored as [in, out]; nn.Linear stores [out, in]. Hooks would miss what attention does inside:
    its fused path is off meanwhile, and its packed projection counts where queries, keys and values are one tensor.
    """

    def __init__(self, slots: Mapping[str, torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.known = {slot.data_ptr(): (key, slot) for key, slot in slots.items() if slot.ndim == 2}
        self.total: dict[str, torch.Tensor] = {}
        self.inputs_first: set[str] = set()

    def __enter__(self) -> Products:
        self.fused = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)  # type: ignore[no-untyped-call]
        torch.backends.mha.set_fastpath_enabled(self.fused)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in ROWS:
            rows, matrix = args[ROWS[func] : ROWS[func] + 2]
            if matrix.ndim == 3:  # one matrix for all of a batch, where it is a stored one
                rows, matrix = rows.flatten(0, 1), matrix[0]
            key, slot = self.known.get(matrix.data_ptr(), ("", None))
            if slot is not None and slot.numel() == matrix.numel():  # not the part of a packed projection
                if matrix.shape == slot.shape and matrix.stride() == slot.stride():
                    self.inputs_first.add(key)
                found = rows.T @ rows
                self.total[key] = self.total[key].add_(found) if key in self.total else found
        return func(*args, **(kwargs or {}))
