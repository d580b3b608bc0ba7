"""Plots of networks, trainings, relaxations, gradients and checks, drawn by matplotlib (extra ``plot``).

A function draws on the matplotlib axes that it receives, or on those of a new figure, which needs no screen,
and returns them. All plots have one style, which is safe for colour-blind readers and readable in print.
"""

from equiprop.plotting.cosines import gradient_cosines as gradient_cosines
from equiprop.plotting.figures import require_matplotlib as require_matplotlib
from equiprop.plotting.figures import save as save
from equiprop.plotting.network import graph as graph
from equiprop.plotting.portrait import phase_portrait as phase_portrait
from equiprop.plotting.relaxation import energy as energy
from equiprop.plotting.relaxation import relaxation as relaxation
from equiprop.plotting.relaxation import sweep_histogram as sweep_histogram
from equiprop.plotting.spectrum import spectrum as spectrum
from equiprop.plotting.theorem import step_errors as step_errors
from equiprop.plotting.theorem import theorem as theorem
from equiprop.plotting.training import learning_curve as learning_curve
from equiprop.plotting.training import sweeps as sweeps
from equiprop.plotting.verdicts import margins as margins
from equiprop.plotting.verdicts import orders as orders
from equiprop.plotting.weights import filters as filters
