"""Train and verify fixed-point recurrent networks.

A network relaxes to a fixed point; its output units there are the prediction. A second phase computes the
gradient of a cost: Equilibrium Propagation relaxes the network again with a force towards the target;
Recurrent Backpropagation iterates error derivatives in a linear side network. Both processes are equal at
every step of the second phase (Scellier & Bengio 2019). `equiprop.verify` checks this to machine precision.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from equiprop import _extension as _extension
from equiprop import _threadpool as _threadpool
from equiprop import analysis as analysis
from equiprop import callbacks as callbacks
from equiprop import contrasts as contrasts
from equiprop import data as data
from equiprop import networks as networks
from equiprop import notebook as notebook
from equiprop import optimizers as optimizers
from equiprop import plotting as plotting
from equiprop import verify as verify
from equiprop._core import Status as Status
from equiprop._core import num_threads as num_threads
from equiprop.activations import ACTIVATIONS as ACTIVATIONS
from equiprop.activations import Activation as Activation
from equiprop.activations import activation as activation
from equiprop.black_box import BlackBox as BlackBox
from equiprop.checkpoint import load as load
from equiprop.checkpoint import save as save
from equiprop.checkpointing import Checkpoint as Checkpoint
from equiprop.config import __version__ as __version__
from equiprop.config import get_cmake_dir as get_cmake_dir
from equiprop.config import get_include as get_include
from equiprop.config import set_num_threads as set_num_threads
from equiprop.config import show_config as show_config
from equiprop.costs import CrossEntropy as CrossEntropy
from equiprop.costs import LayerCosts as LayerCosts
from equiprop.costs import SquaredError as SquaredError
from equiprop.couplings import Convolution as Convolution
from equiprop.couplings import Dense as Dense
from equiprop.couplings import Identity as Identity
from equiprop.couplings import MaxPooled as MaxPooled
from equiprop.couplings import SoftPooled as SoftPooled
from equiprop.data import Dataset as Dataset
from equiprop.data import load_cifar10 as load_cifar10
from equiprop.data import load_cifar100 as load_cifar100
from equiprop.data import load_digits as load_digits
from equiprop.data import load_fashion_mnist as load_fashion_mnist
from equiprop.data import load_kmnist as load_kmnist
from equiprop.data import load_mnist as load_mnist
from equiprop.data import load_svhn as load_svhn
from equiprop.energies import Energy as Energy
from equiprop.energies import VectorField as VectorField
from equiprop.gradients import backpropagation_through_time as backpropagation_through_time
from equiprop.gradients import equilibrium_propagation as equilibrium_propagation
from equiprop.gradients import recurrent_backpropagation as recurrent_backpropagation
from equiprop.history import Epoch as Epoch
from equiprop.history import History as History
from equiprop.imperfect import ImperfectDevice as ImperfectDevice
from equiprop.imperfect import imperfect as imperfect
from equiprop.layers import Layer as Layer
from equiprop.linear_solvers import GMRES as GMRES
from equiprop.linear_solvers import ConjugateGradient as ConjugateGradient
from equiprop.linear_solvers import Neumann as Neumann
from equiprop.linear_solvers import Richardson as Richardson
from equiprop.models import HopfieldNetwork as HopfieldNetwork
from equiprop.nudging import centered as centered
from equiprop.nudging import exact_limit as exact_limit
from equiprop.nudging import holomorphic as holomorphic
from equiprop.nudging import one_sided as one_sided
from equiprop.nudging import random_sign as random_sign
from equiprop.optimizers import SGD as SGD
from equiprop.optimizers import Adam as Adam
from equiprop.overlap import OverlapError as OverlapError
from equiprop.results import ConvergenceError as ConvergenceError
from equiprop.results import ConvergenceWarning as ConvergenceWarning
from equiprop.results import FixedPoint as FixedPoint
from equiprop.results import Gradient as Gradient
from equiprop.results import TrainingWarning as TrainingWarning
from equiprop.scaling import Scaling as Scaling
from equiprop.second_phase import EquilibriumPropagation as EquilibriumPropagation
from equiprop.second_phase import RecurrentBackpropagation as RecurrentBackpropagation
from equiprop.solvers import BlockUpdate as BlockUpdate
from equiprop.solvers import Euler as Euler
from equiprop.solvers import FixedPointIteration as FixedPointIteration
from equiprop.solvers import free_phase as free_phase
from equiprop.training import Trainer as Trainer

if not TYPE_CHECKING:  # a function for every name would hide wrong names from type checkers

    def __getattr__(name: str) -> Any:
        """Import a module that needs an extra, when it is used for the first time."""
        if name in ("estimator", "jax", "mpi", "torch"):
            return import_module(f"equiprop.{name}")
        raise AttributeError(f"module 'equiprop' has no attribute {name!r}")
