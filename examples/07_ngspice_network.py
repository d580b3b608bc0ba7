"""Training of a circuit of resistors and diodes that ngspice simulates: exclusive or, from voltages alone.

Each relaxation is one run of ``ngspice -b`` on a netlist with a copy of the circuit for each sample.
The parameters are logarithms of conductances in mS; beta is a conductance in mS, too.
"""

import shutil
import subprocess

import equiprop as eq
import numpy as np

SOURCES, HIDDEN, OUTPUT = range(5), range(5, 11), 11  # sources: x, -x and 5 V
VOLTS = 5.0
pairs = [(a, b) for a in SOURCES for b in HIDDEN] + [(a, OUTPUT) for a in [*HIDDEN, 4]]


def sources(x):
    return VOLTS * np.concatenate([x, -x, np.ones((len(x), 1))], axis=1)


def netlist(theta, x, beta, y):
    """Return the circuit of every sample k, with nodes nk_0, nk_1, ...; ground is node 0."""
    lines = ["resistors and diodes", ".model d D(IS=1e-9)"]
    for k, voltages in enumerate(sources(x)):
        lines += [f"V{k}_{a} n{k}_{a} 0 {v:.12g}" for a, v in enumerate(voltages)]
        for i, (a, b) in enumerate(pairs):
            lines.append(f"R{k}_{i} n{k}_{a} n{k}_{b} {1e3 * np.exp(-theta[i]):.12g}")
        lines += [f"D{k}_{h} " + (f"0 n{k}_{h} d" if h % 2 else f"n{k}_{h} 0 d") for h in HIDDEN]
        lines.append(f"B{k} n{k}_{OUTPUT} 0 I={1e-3 * beta:.12g}*(V(n{k}_{OUTPUT})-({y[k, 0]:.12g}))")
    names = " ".join(f"v(n{k}_{b})" for k in range(len(x)) for b in [*HIDDEN, OUTPUT])
    control = [".options reltol=1e-9 vntol=1e-12 abstol=1e-15", ".control", "set numdgt=12", "op"]
    return "\n".join([*lines, *control, f"print {names}", "quit 0", ".endc", ".end", ""])


def voltages(text, samples):
    """Return the node voltages (samples, nodes) that ngspice printed."""
    values = [float(line.split("=")[1]) for line in text.splitlines() if line.startswith("v(n")]
    return np.array(values).reshape(samples, len(HIDDEN) + 1)


def relax(x, beta, y):
    given = {"input": netlist(theta, x, beta, y), "capture_output": True, "text": True}
    return voltages(subprocess.run(["ngspice", "-b"], check=True, **given).stdout, len(x))[None]


theta = np.random.default_rng(2).uniform(-1, 1, len(pairs))
half_squares = eq.contrasts.resistors(pairs)  # dE/dg = (v_a - v_b)^2 / 2
circuit = eq.BlackBox(relax, lambda x, s: np.exp(theta) * half_squares(sources(x), s), theta, 1)
if __name__ == "__main__" and shutil.which("ngspice") is None:
    print("skipped: ngspice is not installed (on Debian: apt-get install ngspice)")
elif __name__ == "__main__":
    x, y = np.array([[-1.0, -1], [-1, 1], [1, -1], [1, 1]]), np.array([[0.0], [1], [1], [0]])
    trainer = eq.Trainer(circuit, eq.EquilibriumPropagation(eq.centered(1.0)), eq.Adam(0.1))
    for _ in range(50):
        metrics = trainer.step(x, y)
    print(f"root mean square error {metrics.error:.3f} V; outputs {trainer.predict(x)[:, 0].round(2)}")
    assert metrics.error < 0.1
