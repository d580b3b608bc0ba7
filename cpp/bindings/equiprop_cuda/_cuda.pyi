"""Types of the CUDA kernels; cpp/bindings/cuda.cpp says what they do."""

from collections.abc import Sequence
from typing import Any, type_check_only

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[Any]
_Report = tuple[
    NDArray[np.int8], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]
]
_Solver = tuple[str, float, float | None, int]
_Gradient = tuple[_Array, _Array, float, _Report]
_Rates = Sequence[tuple[int, float]]
_Nodes = Sequence[tuple[float, float]]
_Step = tuple[int | None, int, int | None, _Nodes, _Rates, tuple[float, float], float, int, float]
_State = tuple[int, float, float, float, float]

@type_check_only
class DeviceBatch:
    samples: int
    def __init__(
        self, description: str, parameters: _Array, most: int, division: Sequence[int] = (0, 0, 0)
    ) -> None: ...
    def upload(self, parameters: _Array) -> None: ...
    def download(self) -> _Array: ...
    def clamp(self, x: _Array, y: _Array, logit_scale: float = 0.0) -> None: ...
    def set_sample_weights(self, weights: _Array | None) -> None: ...
    def relax_free(self, solver: _Solver, start: int | None = None) -> _Report: ...
    def equilibrium_propagation(self, nodes: _Nodes, solver: _Solver, inputs: bool = False) -> _Gradient: ...
    def recurrent_backpropagation(
        self, tolerance: float | None, max_iterations: int, inputs: bool = False
    ) -> _Gradient: ...
    def descend(self, rates: _Rates, momentum: float, decay: float) -> None: ...
    def descend_adam(self, rates: _Rates, numbers: Sequence[float]) -> None: ...
    def write_averages(self, rows: _Array) -> None: ...
    def hold(self, x: _Array, labels: _Array | None, y: _Array | None, weights: _Array | None) -> None: ...
    def release(self) -> None: ...
    def run(
        self,
        free: _Solver,
        nudged: _Solver,
        side: tuple[float | None, int] | None,
        logit_scale: float,
        classes: bool,
        optimizer: Sequence[float],
        limits: tuple[float, float, float, float, int],
        steps: Sequence[_Step],
        samples: NDArray[np.int32],
        state: _State,
        mean: _Array,
    ) -> tuple[NDArray[np.float64], _State, int, _Array, _Array, _Array, _Array]: ...
    def reports(self) -> tuple[_Report, _Report]: ...
    def write(self, slot: int, state: _Array) -> None: ...
    def read(self, slot: int) -> _Array: ...
    def objective(self, slot: int) -> float: ...

_Batch = DeviceBatch

@type_check_only
class Precision:
    """The submodules f32 and f64; an instance stands for the module here."""

    DeviceBatch: type[_Batch]

f32: Precision
f64: Precision
version: str

def why_unavailable() -> str: ...
def free_memory() -> int: ...
