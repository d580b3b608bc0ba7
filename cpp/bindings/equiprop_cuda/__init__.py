"""The CUDA kernels of equiprop, which `equiprop.HopfieldNetwork.to` uses."""

from equiprop_cuda import _cuda as _cuda

__version__: str = _cuda.version
