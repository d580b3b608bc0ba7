"""Verification: what the theory claims, as functions that return numbers.

Everything is computed in double precision, on a copy if the network is in single precision.
"""

from equiprop.verify.equivalence import EquivalenceReport as EquivalenceReport
from equiprop.verify.equivalence import Process as Process
from equiprop.verify.equivalence import equivalence as equivalence
from equiprop.verify.gradients import GradientRow as GradientRow
from equiprop.verify.gradients import GradientsReport as GradientsReport
from equiprop.verify.gradients import finite_differences as finite_differences
from equiprop.verify.gradients import gradients as gradients
from equiprop.verify.gradients import implicit_gradient as implicit_gradient
from equiprop.verify.orders import OrdersReport as OrdersReport
from equiprop.verify.orders import orders as orders
