"""The C++ examples, as outside projects, can be configured, built and run, and their output is correct.

The code of docs/cpp.md is that of the examples, its commands run, and its formula of the memory is exact.
"""

from __future__ import annotations

import gzip
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import equiprop as eq
import numpy as np
import pytest
from equiprop.networks import chain_of_images as chain

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "cpp"
DOCUMENT = (ROOT / "docs" / "cpp.md").read_text()
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")


@pytest.fixture(scope="session")
def example(shell, installed_prefix: Path) -> Callable[[str], str]:
    """Build an example once, and return the path of its program."""
    built: dict[str, str] = {}

    def build(name: str) -> str:
        if name not in built:
            folder = f"build/examples/{name}"
            shell(
                f'cmake -S examples/cpp/{name} -B {folder} -DCMAKE_CXX_FLAGS="-Wall -Wextra -Werror" '
                f'-DCMAKE_PREFIX_PATH="{installed_prefix}"; cmake --build {folder}'
            )
            built[name] = f"{folder}/{name}"
        return built[name]

    return build


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the digits of scikit-learn as a CSV file with 64 pixels and the digit in each row."""
    sklearn = pytest.importorskip("sklearn")
    path = tmp_path_factory.mktemp("digits") / "digits.csv"
    packed = Path(sklearn.__file__).parent / "datasets" / "data" / "digits.csv.gz"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    return path


# ---------------------------------------------------------------------------- digits, classify


#: Programs that learn the digits, the test error in percent at the end, and the error on all digits, of which
#: four fifths are training samples.
LEARNERS = {"train_digits": (5, 2.5), "train_convolutional": (10, 9)}


@pytest.mark.parametrize("name", LEARNERS)
def test_digits_are_learned_saved_and_classified(
    shell, example, digits: Path, tmp_path: Path, name: str
) -> None:
    model = tmp_path / "model.safetensors"
    lines = shell(f"{example(name)} {digits} {model}").stdout.splitlines()
    errors = [float(re.fullmatch(r"epoch +\d+: test error ([\d.]+) %", line)[1]) for line in lines]
    assert errors[-1] < LEARNERS[name][0]
    assert errors[-1] < errors[0]
    assert classified(shell, example, model, digits)[1] < LEARNERS[name][1]


def test_a_convolutional_network_trained_in_cpp_has_the_same_bits_in_python(
    shell, example, digits: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model.safetensors"
    shell(f"{example('train_convolutional')} {digits} {model}")
    net = eq.load(model)
    assert [layer.shape for layer in net.layers] == [(1, 8, 8), (16, 4, 4), (32, 2, 2), (10, 1, 1)]
    classified(shell, example, model, digits, tmp_path / "outputs.csv")
    table = np.loadtxt(digits, delimiter=",", dtype=np.float32)
    free = eq.free_phase(net, net.scaling(table[:, :64]), solver=eq.BlockUpdate(tolerance=5e-3))
    np.testing.assert_array_equal(
        np.loadtxt(tmp_path / "outputs.csv", delimiter=",", dtype=np.float32), free.outputs
    )


def classified(
    shell, example, model: Path, table: Path, outputs: Path | str = ""
) -> tuple[list[int], float | None]:
    """Run classify; return its predictions, and the error in percent if it prints one."""
    done = shell(f"{example('classify')} {model} {table} {outputs}")
    error = re.fullmatch(r"(?:error ([\d.]+) %\n)?", done.stderr)
    assert error, done.stderr
    return [int(line) for line in done.stdout.splitlines()], float(error[1]) if error[1] else None


NETWORKS: dict[str, Callable[[], eq.HopfieldNetwork]] = {
    "dense": lambda: eq.HopfieldNetwork([64, 32, 10], seed=1),
    "maximum": lambda: chain((1, 8, 8), [8, 12], 10, kernel=3, padding=1, seed=1),
    "channels first": lambda: eq.networks.chain_of_images(
        (4, 4, 4), [6], 10, kernel=3, pooling="soft", seed=1
    ),
    "channels last": lambda: eq.networks.chain_of_images(
        (4, 4, 4), [6], 10, kernel=3, pooling="mean", image_format="channels_last", seed=1
    ),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_network_trained_in_python_has_the_same_bits_in_cpp(
    shell, example, digits: Path, tmp_path: Path, kind: str
) -> None:
    net = NETWORKS[kind]()
    train = eq.load_digits()[0]
    eq.Trainer(net).fit(train, epochs=2)
    model = eq.save(net, tmp_path / "model.safetensors")
    table = np.loadtxt(digits, delimiter=",", dtype=np.float32)
    free = eq.free_phase(net, table[:, :64] / 16, solver=eq.BlockUpdate(tolerance=5e-3))
    expected = free.outputs.argmax(axis=1)

    predicted, error = classified(shell, example, model, digits, tmp_path / "outputs.csv")
    outputs = np.loadtxt(tmp_path / "outputs.csv", delimiter=",", dtype=np.float32)
    np.testing.assert_array_equal(outputs, free.outputs)
    assert predicted == expected.tolist()
    assert error == pytest.approx(100 * (expected != table[:, 64]).mean(), abs=0.005)
    assert error < 50  # the network has learned

    unlabelled = tmp_path / "unlabelled.csv"
    np.savetxt(unlabelled, table[:, :64], fmt="%d", delimiter=",")
    assert classified(shell, example, model, unlabelled) == (predicted, None)


MALFORMED = {
    "": "[read_csv] The file has rows.",
    "1,2\n3,x\n": "[read_csv] Each field is a number, and commas separate fields. Received 'x' in row 2.",
    "1,2,\n": "[read_csv] Each field is a number",
    "1,nan\n": "[read_csv] Each field is a number",
    "1,2\n3\n": "[read_csv] All rows have equally many fields. Received 1 in row 2, 2 in row 1.",
    "1,2\n": "[digits] There are at least five rows, each of 64 pixels and a digit.",
    ("0," * 64 + "10\n") * 5: "[digits] The last field of a row is a digit. Received 10.",
}


@pytest.mark.parametrize("text", MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_table_is_refused_with_a_reason(shell, example, tmp_path: Path, text: str) -> None:
    table = tmp_path / "table.csv"
    table.write_text(text)
    done = shell(f"{example('train_digits')} {table}", status=1)
    assert done.stderr.startswith(MALFORMED[text])
    assert done.stdout == ""


def test_a_missing_file_is_refused_with_a_reason(shell, example, digits: Path) -> None:
    assert "must exist" in shell(f"{example('train_digits')} no/such.csv", status=1).stderr
    assert "[load]" in shell(f"{example('classify')} no/such.safetensors {digits}", status=1).stderr


# ---------------------------------------------------------------------------- own_energy


def test_both_processes_are_one_on_an_energy_of_ones_own(shell, example) -> None:
    states, parameters, eqprop, rbp = (
        float(line.split()[-1]) for line in shell(example("own_energy")).stdout.splitlines()
    )
    assert max(states, parameters) < 1e-12
    assert max(eqprop, rbp) < 1e-6


# ---------------------------------------------------------------------------- online


def bytes_of_arrays(inputs: int, hidden: int, outputs: int, lanes: int) -> int:
    """Return the bytes of all arrays by the formula of docs/cpp.md."""
    units = hidden + outputs
    parameters = inputs * hidden + hidden * outputs + units

    def rounded(n: int, step: int = lanes) -> int:
        return -(-n // step) * step

    def aligned(n: int) -> int:
        return rounded(rounded(n), 16)

    padded = 16 * (-(-units // 16) | 1)
    by_rows = 4 * outputs < 3 * rounded(outputs) and hidden >= 4 * lanes
    floats = (
        parameters
        + (inputs + outputs + units)
        + (inputs + padded)
        + (rounded(hidden) * outputs if by_rows else rounded(outputs) * hidden)
        + rounded(hidden) * outputs
        + outputs
        + 3 * (padded + lanes)
        + 2 * (3 * outputs)
        + 3 * units
        + 2 * units
        + max(rounded(min(2 * lanes, hidden)) * inputs, aligned(hidden), 2 * aligned(outputs))
        + max(aligned(min(2 * lanes, inputs)), 2 * aligned(min(2 * lanes, hidden)))
    )
    return 4 * floats + 3 * 43 + 4 * 33 + 13 * 8 + 88 * 64


def online(shell, example, *arguments: int, isa: str = "") -> tuple[str, dict[str, int]]:
    """Return the output of the program, and the numbers of its last two lines."""
    printed = shell(f"{example('online')} {' '.join(map(str, arguments))}", EQUIPROP_ISA=isa).stdout
    found = re.search(
        r"allocations after start-up: (?P<allocations>\d+)\n"
        r"peak memory: (?P<peak>\d+) bytes: arrays (?P<arrays>\d+), objects (?P<objects>\d+); "
        r"lanes (?P<lanes>\d+)\n",
        printed,
    )
    assert found, printed
    return printed, {name: int(number) for name, number in found.groupdict().items()}


def test_a_stream_is_learned_without_allocating(shell, example) -> None:
    printed, memory = online(shell, example)
    errors = [float(error) for error in re.findall(r"error ([\d.]+) %", printed)]
    assert len(errors) == 8
    assert errors[-1] < 12 < errors[0]
    assert memory["allocations"] == 0
    if memory["lanes"] == 16:
        assert printed.split("\n", 8)[-1] in DOCUMENT


@pytest.mark.parametrize("isa", ["generic", ""])
@pytest.mark.parametrize("sizes", [(64, 48, 10), (784, 512, 10), (7, 3, 2), (5, 40, 60), (784, 8, 2)])
def test_memory_is_what_the_document_says(shell, example, sizes: tuple[int, int, int], isa: str) -> None:
    _, memory = online(shell, example, *sizes, 200, isa=isa)
    _, other = online(shell, example, 64, 48, 10, 2, isa=isa)
    assert memory["allocations"] == 0
    assert memory["arrays"] == bytes_of_arrays(*sizes, memory["lanes"])
    assert memory["objects"] == other["objects"] < 11_500
    assert memory["peak"] == memory["arrays"] + memory["objects"]


# ---------------------------------------------------------------------------- docs/cpp.md


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)


def flat(text: str) -> str:
    return "\n".join(line.strip() for line in text.strip().splitlines())


def test_every_block_of_the_document_is_checked() -> None:
    assert set(re.findall(r"```(\w*)\n(?:.*?)```", DOCUMENT, re.DOTALL)) == {"sh", "cmake", "cpp", "text"}


@pytest.mark.parametrize("block", blocks("cpp") + blocks("cmake"), ids=lambda b: b.strip().splitlines()[0])
def test_code_of_the_document_is_that_of_an_example(block: str) -> None:
    files = [*EXAMPLES.rglob("*.cpp"), *EXAMPLES.rglob("*.hpp"), *EXAMPLES.rglob("CMakeLists.txt")]
    assert any(flat(block) in flat(path.read_text()) for path in files)


def needs_more(commands: str) -> bool:
    return "get_cmake_dir" in commands or "pkg-config" in commands


def test_commands_of_the_document_run_one_after_another(shell, installed_prefix: Path) -> None:
    """All together, as a reader of the page runs them: the first ones make the files that later ones read."""
    pytest.importorskip("sklearn")
    (ROOT / "build" / "digits.csv").unlink(missing_ok=True)
    printed = shell("\n".join(commands for commands in blocks("sh") if not needs_more(commands))).stdout
    errors = [float(error) for error in re.findall(r"test error ([\d.]+) %", printed)]
    assert errors[-1] < LEARNERS["train_convolutional"][0]
    classes = (ROOT / "build" / "classes.txt").read_text().split()
    assert len(classes) == 1797


@pytest.mark.parametrize("commands", list(filter(needs_more, blocks("sh"))), ids=["package", "pkg-config"])
def test_other_ways_to_find_the_library_work(shell, installed_prefix: Path, commands: str) -> None:
    if "get_cmake_dir" in commands:
        try:
            eq.get_cmake_dir()
        except FileNotFoundError as error:
            pytest.skip(str(error))
    if "pkg-config" in commands and not shutil.which("pkg-config"):
        pytest.skip("pkg-config was not found")
    shell(commands)


@pytest.mark.parametrize(("name", "block"), [*zip(["own_energy", "online"], blocks("text"), strict=True)])
def test_output_of_the_document_is_printed(shell, example, name: str, block: str) -> None:
    assert flat(NUMBER.sub("#", block)) in flat(NUMBER.sub("#", shell(example(name)).stdout))


# ---------------------------------------------------------------------------- docs/tutorials/cpp_program.md


def test_the_program_of_the_tutorial_recognises_digits(shell, installed_prefix: Path, tmp_path: Path) -> None:
    """The files and commands of the page, after its first commands, which have built `installed_prefix`."""
    pytest.importorskip("sklearn")
    page = (ROOT / "docs" / "tutorials" / "cpp_program.md").read_text()
    project = tmp_path / "recognise"
    project.mkdir()
    for language, name in (("cmake", "CMakeLists.txt"), ("cpp", "main.cpp")):
        (text,) = re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)
        (project / name).write_text(text)
    install, *commands = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    assert install in DOCUMENT
    script = "\n".join(commands).replace("build/", f"{tmp_path}/").replace("-S recognise", f"-S {project}")
    printed = shell(script).stdout.splitlines()[-3:]
    assert [int(line.split()[0]) for line in printed] == [0, 1, 2]
    assert all(float(line.split()[1]) > 0.3 for line in printed)
