"""Types of the C++ core; `equiprop` documents what it does."""

from collections.abc import Mapping, Sequence
from enum import Enum, IntEnum
from typing import Any, TypedDict, type_check_only

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[Any]
_Report = tuple[
    NDArray[np.int8], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]
]
_Gradient = tuple[_Array, _Array, float, _Report]
_Recording = tuple[NDArray[np.float64], NDArray[np.float64]]

_Nodes = tuple[tuple[float, float], ...]
_ComplexNodes = tuple[tuple[complex, complex], ...]
_Relaxation = tuple[_Array, _Report, NDArray[np.float64] | None, _Array | None]
_Blocks = list[tuple[str, int, tuple[int, ...]]]
_Shape = tuple[int, int, int]
_Coupling = tuple[str, int, int, tuple[Any, ...] | float | None]

class Status(IntEnum):
    CONVERGED = 0
    FIXED_STEPS = 1
    INACCURATE = 2
    MAX_ITERATIONS = 3
    INDEFINITE = 4
    DIVERGED = 5

class Potential(Enum):
    QUADRATIC = 0
    LEGENDRE = 1

class Tanh: ...
class Logistic: ...
class Softplus: ...
class Clip: ...

_Activation = Tanh | Logistic | Softplus | Clip

class Layer:
    def __init__(self, name: str, shape: _Shape, activation: _Activation) -> None: ...

class _Options:
    tolerance: float | None
    max_iterations: int

class _PhaseOptions(_Options):
    anderson: int

class BlockUpdate(_PhaseOptions): ...

class FixedPointIteration(_PhaseOptions):
    damping: float

class Euler(_PhaseOptions):
    step_size: float

class ConjugateGradient(_Options): ...

class Richardson(_Options):
    step_size: float

class Neumann(_Options): ...

class GMRES(_Options):
    restart: int

_Solver = BlockUpdate | FixedPointIteration | Euler
_LinearSolver = ConjugateGradient | Richardson | Neumann | GMRES

@type_check_only
class Energy:
    num_units: int
    num_outputs: int
    num_parameters: int
    num_blocks: int
    num_inputs: int
    conservative: bool
    def symmetrized(self, s_star: NDArray[np.float64]) -> Energy: ...
    def energy(self, s: _Array) -> _Array: ...
    def gradient(self, s: _Array) -> _Array: ...
    def fixed_point_map(self, s: _Array) -> _Array: ...
    def mobility(self, s: _Array) -> _Array: ...
    def hessian_vector_product(self, s: _Array, v: _Array) -> _Array: ...
    def transposed_hessian_vector_product(self, s: _Array, v: _Array) -> _Array: ...
    def input_gradient(self, s: _Array) -> _Array: ...
    def mixed_input_product(self, s: _Array, v: _Array) -> _Array: ...
    def parameter_gradient(self, s: _Array) -> _Array: ...
    def mixed_derivative_product(self, s: _Array, v: _Array) -> _Array: ...
    def residual(self, s: _Array) -> NDArray[np.float64]: ...

@type_check_only
class DualEnergy:
    def symmetrized(self, s_star: NDArray[np.float64]) -> DualEnergy: ...

@type_check_only
class Cost:
    num_rows: int
    batch: int
    sample_weight: _Array | None
    def value(self, s: _Array) -> _Array: ...
    def state_gradient(self, s: _Array) -> _Array: ...
    def weighted(self, weights: _Array, /) -> Cost: ...

@type_check_only
class HopfieldNetwork:
    layers: list[tuple[str, _Shape, tuple[str, float, float, float, float]]]
    couplings: list[_Coupling]
    potential: Potential
    separate_feedback: bool
    channels_first: bool
    colors: list[list[int]]
    parameters: _Array
    parameter_blocks: _Blocks
    state_blocks: _Blocks
    holomorphic: bool
    scaling: tuple[NDArray[np.float64], NDArray[np.float64]] | None
    def __init__(
        self,
        layers: Sequence[Layer],
        couplings: Sequence[_Coupling],
        potential: Potential,
        separate_feedback: bool = False,
        channels_first: bool = False,
    ) -> None: ...
    def initialize(self, seed: int, gain: float = 0.5) -> None: ...
    def initial_state(self, batch: int) -> _Array: ...
    def description(self) -> str: ...
    def save(self, path: bytes, /) -> None: ...
    def clamp(self, x: _Array) -> Energy: ...
    def clamp_dual(self, x: NDArray[np.float64]) -> DualEnergy: ...
    def clamp_complex(self, x: NDArray[np.float64]) -> Energy: ...

_Network = HopfieldNetwork

class CostKind:
    """Cross-entropy of a logit scale, or the squared error if it is 0."""

    @property
    def logit_scale(self) -> float: ...
    def __init__(self, logit_scale: float) -> None: ...

class NudgingKind(Enum):
    FINITE = 0
    EXACT_LIMIT = 1
    HOLOMORPHIC = 2

class NudgedPhases:
    @property
    def kind(self) -> NudgingKind: ...
    @property
    def nodes(self) -> list[tuple[complex, complex]]: ...
    @property
    def solver(self) -> _Solver: ...
    @property
    def symmetrize(self) -> bool: ...
    def __init__(
        self,
        kind: NudgingKind,
        nodes: Sequence[tuple[complex, complex]],
        solver: _Solver,
        symmetrize: bool,
        /,
    ) -> None: ...

class SideNetwork:
    @property
    def solver(self) -> _LinearSolver: ...
    def __init__(self, solver: _LinearSolver, /) -> None: ...

_Rates = Sequence[tuple[int, float]]

@type_check_only
class OptimizerSink:
    @staticmethod
    def sgd(
        theta: _Array, velocity: _Array | None, rates: _Rates, momentum: float, decay: float, /
    ) -> OptimizerSink: ...
    @staticmethod
    def adam(
        theta: _Array, mean: _Array, square: _Array, rates: _Rates, numbers: Sequence[float], /
    ) -> OptimizerSink: ...

_OptimizerSink = OptimizerSink

@type_check_only
class TrainingStep:
    free: _Report
    free_state: _Array
    second: _Report
    control: bool
    def __init__(self, model: object, network: HopfieldNetwork | None) -> None: ...
    def take(
        self,
        x: _Array,
        y: _Array,
        cost: CostKind | Cost,
        solver: _Solver,
        second_phase: NudgedPhases | SideNetwork,
        sink: OptimizerSink | None,
        largest_norm: float,
        sample_weight: _Array | None = None,
        start: _Array | None = None,
    ) -> tuple[float, float, float, float, float, int, float, float, int, _Array | None] | None: ...

_TrainingStep = TrainingStep

@type_check_only
class Precision:
    """The submodules f32 and f64; an instance stands for the module here."""

    HopfieldNetwork: type[_Network]
    def relax(
        self,
        energy: Energy,
        solver: _Solver,
        start: _Array,
        trace: bool = False,
        record: bool = False,
        samples: int = 0,
    ) -> _Relaxation: ...
    def backpropagation_through_time(
        self, energy: Energy, cost: Cost, trajectory: _Array, solver: _Solver, inputs: bool, record: bool
    ) -> tuple[_Gradient, _Array, _Array]: ...
    def holomorphic_equilibrium_propagation(
        self,
        energy: Energy,
        cost: Cost,
        state: NDArray[np.float64],
        nodes: _ComplexNodes,
        solver: _Solver,
        inputs: bool,
    ) -> _Gradient: ...
    def momentum_update(
        self,
        theta: _Array,
        gradient: _Array,
        velocity: _Array,
        begin: int,
        count: int,
        rate: float,
        momentum: float,
        decay: float,
        /,
    ) -> None: ...
    def adam_update(
        self,
        theta: _Array,
        gradient: _Array,
        mean: _Array,
        square: _Array,
        begin: int,
        count: int,
        rate: float,
        beta1: float,
        beta2: float,
        epsilon: float,
        decay: float,
        correction1: float,
        correction2: float,
        /,
    ) -> None: ...
    OptimizerSink: type[_OptimizerSink]
    TrainingStep: type[_TrainingStep]
    def one_hot(self, labels: NDArray[np.int64], outputs: int, where: str, /) -> _Array: ...
    def bind_cost(self, kind: CostKind, y: _Array, /) -> Cost: ...
    def bind_layer_costs(
        self, rows: int, costs: Sequence[tuple[CostKind, _Array, int, float]], /
    ) -> Cost: ...
    def equilibrium_propagation(
        self, energy: Energy, cost: Cost, state: _Array, nodes: _Nodes, solver: _Solver, inputs: bool
    ) -> _Gradient: ...
    def equilibrium_propagation_limit(
        self, energy: DualEnergy, cost: Cost, state: NDArray[np.float64], solver: _Solver, inputs: bool
    ) -> _Gradient: ...
    def recurrent_backpropagation(
        self, energy: Energy, cost: Cost, state: _Array, solver: _LinearSolver, inputs: bool
    ) -> _Gradient: ...

class _DoublePrecision(Precision):
    def total_energy(self, energy: Energy, cost: Cost, beta: float) -> Energy: ...
    def python_energy(
        self, model: object, x: _Array, units: int, outputs: int, parameters: int
    ) -> Energy: ...

class _Dual:
    def python_energy(
        self, model: object, x: _Array, units: int, outputs: int, parameters: int
    ) -> DualEnergy: ...

class _Complex:
    def python_energy(
        self, model: object, x: _Array, units: int, outputs: int, parameters: int
    ) -> Energy: ...
    def total_energy(self, energy: Energy, cost: Cost, beta: complex) -> Energy: ...

class _Groups(TypedDict):
    difference: NDArray[np.float64]
    size: NDArray[np.float64]
    product: NDArray[np.float64]
    power: NDArray[np.float64]
    value_power: NDArray[np.float64]

class _Comparison(TypedDict):
    states: _Groups
    parameters: _Groups
    error_states: NDArray[np.float64]
    temporal_states: NDArray[np.float64]
    error_parameters: NDArray[np.float64]
    temporal_parameters: NDArray[np.float64]

class _Request:
    steps: int
    step_size: float
    runge_kutta: bool
    layer_ends: list[int]
    block_ends: list[int]
    units: list[int]
    samples: list[int]
    parameters: list[int]

class _Verification:
    Request: type[_Request]
    def compare(
        self, energy: Energy, cost: Cost, nudged: Energy, state: _Array, nodes: _Nodes, request: _Request, /
    ) -> _Comparison: ...
    def compare_limit(
        self, energy: Energy, cost: Cost, nudged: DualEnergy, state: _Array, request: _Request, /
    ) -> _Comparison: ...
    def nudged_tangents(
        self, energy: DualEnergy, cost: Cost, state: _Array, solver: _Solver, steps: int, outside: bool, /
    ) -> _Recording: ...

f32: Precision
f64: _DoublePrecision
dual: _Dual
c128: _Complex
verification: _Verification

def set_num_threads(count: int, /) -> None: ...
def num_threads() -> int: ...

version: str
MOST_GRADIENT_ERROR: float
MAX_HEADER_BYTES: int

def read_safetensors(path: bytes, /) -> tuple[dict[str, _Array], dict[str, str]]: ...
def write_safetensors(
    path: bytes, tensors: Mapping[bytes, _Array], metadata: Mapping[bytes, bytes], /
) -> None: ...
def write_file(path: bytes, content: bytes, where: str, /) -> None: ...
def move_file(source: bytes, target: bytes, where: str, /) -> None: ...
def remove_leftovers(folder: bytes, /) -> None: ...
def load(path: bytes, /) -> HopfieldNetwork: ...
def network_of(description: str, num_parameters: int, /) -> HopfieldNetwork: ...
def activation_of(kind: str, gain: float, shift: float, lower: float, upper: float, /) -> _Activation: ...
def build_info() -> dict[str, str]: ...
def permutation(n: int, seed: int, stream: int, /) -> NDArray[np.int64]: ...
def all_finite(array: _Array, /) -> bool: ...
def uniform(n: int, seed: int, stream: int, /) -> NDArray[np.float64]: ...
def activation(rho: _Activation, x: _Array, /) -> tuple[NDArray[np.float64], bool]: ...
def one_sided(beta: float, /) -> _Nodes: ...
def centered(beta: float, /) -> _Nodes: ...
def holomorphic(radius: float, points: int, /) -> _ComplexNodes: ...
