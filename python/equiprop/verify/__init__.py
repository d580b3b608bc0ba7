"""Verification: the claims of the theory as functions that return figures.

Each claim is a function of a model and samples. It returns a report: rows of figures with their limits, a
verdict, and advice if a claim does not hold. `certify` runs all claims. The functions compute in double
precision, on a copy of the network if it is in single precision.
"""

from equiprop.black_box import BlackBox as BlackBox
from equiprop.verify import saving as saving
from equiprop.verify.asymmetry import AsymmetryReport as AsymmetryReport
from equiprop.verify.asymmetry import asymmetry as asymmetry
from equiprop.verify.best_beta import BestBeta as BestBeta
from equiprop.verify.best_beta import best_beta as best_beta
from equiprop.verify.black_box import BlackBoxReport as BlackBoxReport
from equiprop.verify.black_box import black_box as black_box
from equiprop.verify.bounded import BoundedReport as BoundedReport
from equiprop.verify.bounded import bounded as bounded
from equiprop.verify.certificate import Case as Case
from equiprop.verify.certificate import Certificate as Certificate
from equiprop.verify.claims import CLAIMS as CLAIMS
from equiprop.verify.derivatives import DerivativesReport as DerivativesReport
from equiprop.verify.derivatives import derivatives as derivatives
from equiprop.verify.diagnosis import Diagnosis as Diagnosis
from equiprop.verify.diagnosis import diagnose as diagnose
from equiprop.verify.discrete_time import DiscreteTimeReport as DiscreteTimeReport
from equiprop.verify.discrete_time import discrete_time as discrete_time
from equiprop.verify.equivalence import EquivalenceReport as EquivalenceReport
from equiprop.verify.equivalence import equivalence as equivalence
from equiprop.verify.gradients import GradientRow as GradientRow
from equiprop.verify.gradients import GradientsReport as GradientsReport
from equiprop.verify.gradients import gradients as gradients
from equiprop.verify.limit import LimitReport as LimitReport
from equiprop.verify.limit import limit as limit
from equiprop.verify.orders import OrdersReport as OrdersReport
from equiprop.verify.orders import orders as orders
from equiprop.verify.problem import Problem as Problem
from equiprop.verify.problem import prepare as prepare
from equiprop.verify.processes import Process as Process
from equiprop.verify.projected_cost import ProjectedCostReport as ProjectedCostReport
from equiprop.verify.projected_cost import projected_cost as projected_cost
from equiprop.verify.recording_files import read_recordings as read_recordings
from equiprop.verify.recording_files import write_recordings as write_recordings
from equiprop.verify.reference import finite_differences as finite_differences
from equiprop.verify.reference import implicit_gradient as implicit_gradient
from equiprop.verify.replay import Replay as Replay
from equiprop.verify.replay import replay as replay
from equiprop.verify.spectrum import Spectrum as Spectrum
from equiprop.verify.spectrum import Symmetry as Symmetry
from equiprop.verify.suite import certify as certify
from equiprop.verify.surrogate import SurrogateReport as SurrogateReport
from equiprop.verify.surrogate import surrogate as surrogate
from equiprop.verify.traces import TracesReport as TracesReport
from equiprop.verify.traces import traces as traces
from equiprop.verify.unconverged import UnconvergedReport as UnconvergedReport
from equiprop.verify.unconverged import unconverged as unconverged
from equiprop.verify.verdict import Report as Report
from equiprop.verify.verdict import Row as Row
from equiprop.verify.verdict import Verdict as Verdict
