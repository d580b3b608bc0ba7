"""The architecture: every include and every import refers to the same floor or to a lower one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEADERS = ROOT / "cpp" / "include" / "equiprop"
PACKAGE = ROOT / "python" / "equiprop"

#: Lowest first; files outside the library are above all of its floors.
CPP_FLOORS = ["base", "linear", "model", "solver", "second_phase", "cuda"]
CPP_FLOORS += ["verification", "umbrella", "outside"]

#: Lowest first; a module may import modules of its own floor and of lower ones.
PYTHON_FLOORS = [
    ["_extension"],
    ["_core"],
    ["checks", "files", "overlap", "paths", "markup", "json_text"],
    ["schedules"],
    [
        "arrays",
        "array_arguments",
        "complex_steps",
        "augmentation",
        "activations",
        "cuda_package",
        "cuda_arrays",
        "config",
        "idx",
        "processes",
        "mpi",
        "finding",
        "idx_images",
        "matlab_files",
        "npz_files",
        "cifar_files",
        "svhn_files",
        "image_sets",
        "safetensors",
        "resuming",
        "download",
        "centring",
        "clipping",
        "nesterov",
        "optimizer_arguments",
        "optimizers",
        "core_sinks",
        "nudging",
        "history",
        "progress",
        "watching",
        "row_logger",
        "callbacks",
        "_threadpool",
    ],
    ["couplings"],
    ["layers"],
    ["network_table", "devices"],
    ["labels", "row_selection", "weights"],
    ["scaling"],
    ["dataset"],
    ["model_interface"],
    ["models", "data", "data_files"],
    [
        "energies",
        "costs",
        "results",
        "torch.models",
        "early_stopping",
        "averaging",
        "network_files",
        "networks",
        "image_defaults",
    ],
    ["position"],
    ["solvers"],
    ["evaluation", "input_scale", "batches", "health", "kept_states"],
    ["training_data"],
    ["prediction"],
    ["linear_solvers"],
    ["second_phase", "cuda_fields"],
    ["cuda_run"],
    ["cuda_step"],
    ["cuda_core"],
    ["cuda", "black_box", "contrasts"],
    ["imperfect"],
    ["gradients", "defaults"],
    ["cost_defaults"],
    ["stepping"],
    ["coupling_guard", "sharding", "trainable", "health_probe", "overflow", "device_training"],
    ["implicit"],
    ["jax", "torch.ops", "torch.search"],
    ["torch.network_phases", "torch.linear"],
    ["torch.tensor_phases"],
    ["torch.layer"],
    ["run_faults"],
    ["health_watch"],
    ["encoding", "black_box_files"],
    ["checkpointing"],
    ["cuda_epochs"],
    ["fitting", "explaining"],
    ["starting"],
    ["training"],
    ["checkpoint"],
    ["estimator.settings", "estimator.inputs"],
    ["estimator.base"],
    ["estimator.classifier", "estimator.regressor"],
    ["estimator"],
    ["verify.directions", "verify.confidence"],
    ["verify.spectrum", "verify.model_parts", "verify.relation", "verify.comparison", "verify.significance"],
    ["verify.fingerprints", "verify.schema", "verify.own_code", "verify.watch"],
    ["verify.repeats", "verify.roughness", "verify.reversal"],
    ["verify.own_methods", "verify.cause_sentences"],
    ["verify.causes"],
    ["verify.diagnosis"],
    ["verify.problem"],
    ["verify.verdict"],
    ["verify.timed"],
    [
        "verify.reference",
        "verify.processes",
        "verify.inert",
        "verify.complex_states",
        "verify.far_states",
        "verify.derivative_checks",
        "verify.derivatives",
        "verify.equivalence",
        "verify.gradients",
        "verify.limit",
        "verify.orders",
        "verify.surrogate",
        "verify.discrete_time",
        "verify.projected_cost",
        "verify.bounded",
        "verify.asymmetry",
        "verify.unconverged",
        "verify.recordings",
        "verify.recording_files",
        "verify.recording_tables",
        "verify.noise",
        "verify.evidence",
        "verify.trace_causes",
        "verify.exact_traces",
        "verify.measured_traces",
        "verify.traces",
        "verify.device",
        "verify.device_causes",
        "verify.best_beta",
        "verify.noisy_black_box",
        "verify.black_box",
    ],
    ["verify.claims", "verify.encoding", "notebook"],
    [
        "analysis.energies",
        "analysis.eigenvalues",
        "analysis.filters",
        "analysis.cosines",
        "analysis.portrait",
    ],
    ["analysis"],
    ["plotting.style"],
    ["plotting.figures"],
    ["plotting.network", "plotting.training", "plotting.relaxation", "plotting.theorem"],
    ["plotting.spectrum", "plotting.weights", "plotting.cosines", "plotting.portrait"],
    ["plotting.verdicts"],
    ["plotting"],
    ["verify.problem_records", "verify.recorded", "verify.frugal"],
    ["verify.remeasured"],
    ["verify.certificate"],
    ["verify.style", "verify.svg"],
    ["verify.html", "verify.suite", "verify.replay"],
    ["verify.saving"],
    ["verify"],
    ["torch.recording", "torch.slopes"],
    ["torch.module_causes"],
    ["torch.verification"],
    ["torch"],
    ["cli.options", "cli.termination", "cli.run_folder", "cli.console", "cli.verdicts"],
    ["cli.markup", "cli.run_reader"],
    ["cli.processes"],
    ["cli.data"],
    ["cli.trainer", "cli.settings"],
    ["cli.training_run"],
    ["cli.chart", "cli.compare", "cli.completion"],
    ["cli.dashboard_page"],
    ["cli.train", "cli.evaluate", "cli.predict", "cli.verify", "cli.info", "cli.dashboard"],
    ["cli.command"],
    ["cli"],
    ["__main__", "__init__"],
]
PYTHON_LEVEL = {name: level for level, names in enumerate(PYTHON_FLOORS) for name in names}


def test_a_source_includes_its_own_header_first() -> None:
    """So its compilation shows that the header needs no other one before it."""
    for header in HEADERS.rglob("*.hpp"):
        name = header.relative_to(HEADERS)
        source = ROOT / "cpp" / "src" / name.with_suffix(".cpp")
        if source.exists():
            (first, *_) = re.findall(r'#include [<"](.+)[>"]', source.read_text())
            assert first == f"equiprop/{name.as_posix()}"


def test_every_header_belongs_to_a_floor_and_to_the_umbrella() -> None:
    umbrella = (HEADERS / "equiprop.hpp").read_text()
    for header in HEADERS.rglob("*.hpp"):
        name = header.relative_to(HEADERS.parent).as_posix()
        if header.name != "equiprop.hpp":
            assert cpp_floor(header) in CPP_FLOORS
            component = cpp_floor(header) == "cuda"  # a library of its own
            assert (f'#include "{name}"' in umbrella) != component


def cpp_files() -> list[Path]:
    folders = (HEADERS, ROOT / "cpp" / "src", ROOT / "cpp" / "bindings", ROOT / "examples")
    return sorted(f for folder in folders for f in folder.rglob("*") if f.suffix in {".hpp", ".cpp", ".inl"})


def cpp_floor(path: Path) -> str:
    if path.is_relative_to(HEADERS):
        return "umbrella" if path.parent == HEADERS else path.relative_to(HEADERS).parts[0]
    if path.is_relative_to(ROOT / "cpp" / "src"):
        return path.relative_to(ROOT / "cpp" / "src").parts[0]
    return "outside"


def includes(path: Path) -> Iterator[Path]:
    """Files of this project that a file includes."""
    for name in re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text(), re.MULTILINE):
        folders = (HEADERS.parent, path.parent, ROOT / "cpp" / "src")
        found = [folder / name for folder in folders if (folder / name).is_file()]
        assert found or not name.startswith("equiprop/"), f"{path} includes {name}"
        yield from (file.resolve() for file in found[:1])


def test_every_source_has_a_floor() -> None:
    folder = ROOT / "cpp" / "src"
    assert {f.relative_to(folder).parts[0] for f in folder.rglob("*.*")} <= set(CPP_FLOORS)


@pytest.mark.parametrize("path", cpp_files(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_files_include_only_downward(path: Path) -> None:
    for file in includes(path):
        assert CPP_FLOORS.index(cpp_floor(file)) <= CPP_FLOORS.index(cpp_floor(path)), file
        public = file.is_relative_to(HEADERS)
        assert public or cpp_floor(file) != "outside" or cpp_floor(path) == "outside", file
        inside = file.is_relative_to(ROOT / "cpp" / "src")
        assert not inside or path.is_relative_to(ROOT / "cpp" / "src"), f"{file} is private"


def test_no_includes_form_a_circle() -> None:
    assert circles({str(path): {str(file) for file in includes(path)} for path in cpp_files()}) == []


def module_of(source: Path, package: Path = PACKAGE) -> str:
    name = ".".join(source.relative_to(package).with_suffix("").parts)
    return name if name == "__init__" else name.removesuffix(".__init__")


def imports(code: str) -> set[str]:
    """Modules of the package that code imports, at its top, in functions, or for type checks only."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        own = (name.removeprefix("equiprop.") for name in names if name.startswith("equiprop."))
        found |= {name if name in PYTHON_LEVEL else name.rpartition(".")[0] or name for name in own}
    return found


def circles(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """The strongly connected sets of nodes of a graph that contain an edge."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            for node in graph.get(ahead.pop(), set()) - seen:
                seen.add(node)
                ahead.append(node)
        return seen

    reach = {node: reached(node) for node in graph}
    found: list[set[str]] = []
    for node in sorted(graph):
        circle = {other for other in reach[node] if node in reach.get(other, set())}
        if circle and circle not in found:
            found.append(circle)
    return found


GRAPH = {module_of(source): imports(source.read_text()) for source in sorted(PACKAGE.rglob("*.py"))}


def test_every_module_has_a_floor() -> None:
    assert set(GRAPH) == set(PYTHON_LEVEL) - {"_core"}


@pytest.mark.parametrize("name", GRAPH)
def test_modules_import_only_downward(name: str) -> None:
    assert [other for other in GRAPH[name] if PYTHON_LEVEL[other] > PYTHON_LEVEL[name]] == []


def test_no_modules_form_a_circle() -> None:
    assert circles(GRAPH) == []


def test_imports_are_found_wherever_they_stand() -> None:
    code = """
import equiprop.models
import equiprop.verify.html as page, json
from equiprop import costs, __version__
from equiprop.verify import suite, equivalence
if TYPE_CHECKING:
    from equiprop.results import FixedPoint

def function():
    class Inside:
        from equiprop.verify.traces import traces
"""
    inside = {"models", "verify.html", "costs", "__version__", "results", "verify.traces"}
    assert imports(code) == inside | {"verify.suite", "verify.equivalence"}


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": {"d"}, "e": {"a"}}
    assert circles(graph) == [{"a", "b", "c"}, {"d"}]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


LONGEST_FUNCTION = 60


def long_functions(code: str) -> list[tuple[str, int]]:
    """Names and lengths of functions with too many lines, signature and docstring included."""
    functions = (
        n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    lengths = ((node.name, (node.end_lineno or node.lineno) - node.lineno + 1) for node in functions)
    return [(name, length) for name, length in lengths if length > LONGEST_FUNCTION]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=module_of)
def test_functions_are_short(path: Path) -> None:
    assert long_functions(path.read_text()) == []


def test_long_functions_are_found() -> None:
    body = "        x = 0\n"
    code = f"class A:\n    def short(self):\n{body * 59}    def long(\n        self\n    ):\n{body * 58}"
    assert long_functions(code) == [("long", 61)]


def test_models_use_no_conjugating_product() -> None:
    """Eigen's dot and adjoint conjugate complex numbers, which would make holomorphic nudging wrong."""
    for path in [
        *HEADERS.glob("model/*.hpp"),
        *HEADERS.glob("linear/*.hpp"),
        *(ROOT / "cpp/src").rglob("*.cpp"),
    ]:
        assert not re.search(r"\.(dot|adjoint|norm|squaredNorm)\(", path.read_text()), path


#: Interfaces that a program may implement; only they have virtual functions, and the code that calls them is
#: compiled once per scalar.
INTERFACES = {
    "base/iterate.hpp": ["Stepper"],
    "base/parameter_sink.hpp": ["ParameterSink"],
    "model/any_model.hpp": ["Interface"],
    "model/coupling.hpp": ["Interface"],
    "model/edge.hpp": ["Edge"],
    "model/layer_plan.hpp": ["PlannedMap"],
    "model/energy_interface.hpp": [
        "InputDerivatives",
        "BlockUpdates",
        "OnePassResidual",
        "WeightedContrast",
        "Selection",
        "EnergyInterface",
    ],
}


def virtual_destructors(text: str) -> list[str]:
    return re.findall(r"virtual ~(\w+)\(", text)


def test_only_interfaces_have_virtual_functions() -> None:
    for path in HEADERS.rglob("*.hpp"):
        text = path.read_text()
        interfaces = INTERFACES.get(path.relative_to(HEADERS).as_posix(), [])
        assert virtual_destructors(text) == interfaces, path
        assert interfaces or not re.search(r"\bvirtual\b", text), path


def test_one_version_number() -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    written = [
        path
        for pattern in ("*.txt", "*.hpp", "*.py", "*.cff", "*.cmake")
        for path in ROOT.rglob(pattern)
        if not {"build", ".venv"} & set(path.relative_to(ROOT).parts) and version[1] in path.read_text()
    ]
    assert written == []
