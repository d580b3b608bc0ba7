"""Analysis: figures of a model at its fixed points, as data; `equiprop.plotting` draws them.

The functions compute in double precision, on a copy of the network if it is in single precision. Functions
that judge such figures are in `equiprop.verify`.
"""

from equiprop.analysis.cosines import GradientCosines as GradientCosines
from equiprop.analysis.cosines import gradient_cosines as gradient_cosines
from equiprop.analysis.eigenvalues import Eigenvalues as Eigenvalues
from equiprop.analysis.eigenvalues import eigenvalues as eigenvalues
from equiprop.analysis.energies import energies as energies
from equiprop.analysis.filters import filters as filters
from equiprop.analysis.portrait import PhasePortrait as PhasePortrait
from equiprop.analysis.portrait import phase_portrait as phase_portrait
