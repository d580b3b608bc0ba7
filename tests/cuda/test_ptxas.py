"""Kernels in float32 stay in registers, as nvcc's assembler reports them."""

from __future__ import annotations

import pytest
from cuda_ptxas import NVCC, kernels, plain, report

SYMBOL = "_ZN8equiprop4cuda5relaxIfLi4EEEvNS0_11NetworkViewIT_EENS0_5PhaseIS3_EE"
EXAMPLE = f"""
ptxas info    : Compiling entry function '{SYMBOL}' for 'sm_90'
ptxas info    : Function properties for {SYMBOL}
    16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 128 registers, used 1 barriers, 16 bytes cumulative stack size, 512 bytes smem
"""


def test_a_report_is_read() -> None:
    (kernel,) = kernels(EXAMPLE)
    assert kernel.name == "relax<float, 4>"
    assert (kernel.registers, kernel.stack, kernel.spilled, kernel.shared) == (128, 16, 20, 512)
    assert kernel.single


def test_names_have_the_template_arguments() -> None:
    product = "_ZN8equiprop4cuda8multiplyIfLi8ELNS0_9PrecisionE2EEEvNS0_8ProductsIT_EE"
    assert plain(product) == "multiply<float, 8, 3xtf32>"


@pytest.mark.slow
@pytest.mark.skipif(NVCC is None, reason="nvcc is not installed")
@pytest.mark.parametrize(("architecture", "bytes_of_stack"), [(80, 16), (90, 0)])
def test_kernels_in_float32_spill_nothing(architecture: int, bytes_of_stack: int) -> None:
    found = report(architecture)
    names = {"relax<float, 1>", "relax<float, 8>", "solve_side_network<double, 4>"}
    names |= {"multiply<float, 8, exact>", "multiply<float, 8, 3xtf32>"}
    assert names <= {k.name for k in found}
    for kernel in found:
        if kernel.single:
            assert kernel.stack <= bytes_of_stack, kernel
            assert kernel.spilled <= bytes_of_stack, kernel
