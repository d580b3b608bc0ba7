"""PyTorch (extra ``torch``): models that a user writes in it, a layer, and a check of modules."""

try:
    import torch as torch
except ImportError as _error:
    raise ImportError(
        "[equiprop.torch] PyTorch is not installed. Install it with pip install 'equiprop[torch]'."
    ) from _error

from equiprop.torch.layer import FixedPointLayer as FixedPointLayer
from equiprop.torch.models import TorchEnergy as TorchEnergy
from equiprop.torch.models import TorchVectorField as TorchVectorField
from equiprop.torch.verification import ModuleReport as ModuleReport
from equiprop.torch.verification import verify as verify
