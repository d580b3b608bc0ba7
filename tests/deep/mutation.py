"""Mutation testing of readers and of verification: changes to a module that no test notices.

    python tests/deep/mutation.py FOLDER COUNT [MODULE ...]

For each module cosmic-ray makes mutants; COUNT of them are drawn at random and given to the tests of the
module. FOLDER receives a copy of the package, so that the sources never change. The survivors are printed.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
COSMIC_RAY = [sys.executable, "-m", "cosmic_ray.cli"]

#: The tests of each module, files below tests/python.
TESTS = {
    "idx": ["test_idx", "test_fuzz_readers"],
    "data_files": ["test_data_files", "test_fuzz_readers"],
    "safetensors": ["test_safetensors", "test_checkpoint"],
    "cli/settings": ["test_cli_settings", "test_fuzz_readers"],
    "matlab_files": ["test_image_sets"],
    "cifar_files": ["test_image_sets"],
    "verify/recordings": ["test_measured_traces", "test_noisy_recordings"],
    "verify/replay": ["test_verify_replay", "test_certificate"],
    "verify/significance": ["test_significance", "test_noisy_recordings"],
    "verify/diagnosis": ["test_diagnosis", "test_fault_table"],
    "verify/causes": ["test_diagnosis", "test_fault_table"],
}


def configuration(module: Path, tests: list[str]) -> str:
    files = " ".join(str(ROOT / "tests" / "python" / f"{name}.py") for name in tests)
    options = "-x -q -p no:cacheprovider -p no:randomly"
    settings = {
        "module-path": str(module),
        "timeout": 300.0,
        "excluded-modules": [],
        "test-command": f"{sys.executable} -m pytest {options} {files}",
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    return "\n".join(["[cosmic-ray]", *lines, "[cosmic-ray.distributor]", 'name = "local"', ""])


def draw(session: Path, count: int) -> int:
    """Keep `count` of the mutants of a session, and return how many there were."""
    # The names of the jobs are random; the places in the file are not.
    order = "operator_name, start_pos_row, start_pos_col, occurrence"
    with sqlite3.connect(session) as database:
        jobs = [job for (job,) in database.execute(f"SELECT job_id FROM mutation_specs ORDER BY {order}")]
        dropped = random.Random(0).sample(jobs, max(0, len(jobs) - count))
        for table in ("mutation_specs", "work_items"):
            database.executemany(f"DELETE FROM {table} WHERE job_id = ?", [(job,) for job in dropped])
    return len(jobs)


def survivors(session: Path) -> tuple[int, list[str]]:
    """Return the number of mutants that were tested, and the changes that no test noticed."""
    dump = subprocess.run([*COSMIC_RAY, "dump", session], capture_output=True, text=True, check=True).stdout
    items = [json.loads(line) for line in dump.splitlines()]
    tested = [(work, result) for work, result in items if result is not None]
    alive = [result["diff"] for _, result in tested if result["test_outcome"] == "survived"]
    return len(tested), alive


def mutate(name: str, folder: Path, count: int) -> tuple[int, int]:
    """Test mutants of one module; return how many were tested and how many survived."""
    session, settings = folder / f"{name.replace('/', '.')}.sqlite", folder / "settings.toml"
    session.unlink(missing_ok=True)
    settings.write_text(configuration(folder / "equiprop" / f"{name}.py", TESTS[name]))
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([*COSMIC_RAY, "init", settings, session], check=True, cwd=folder)
    mutants = draw(session, count)
    subprocess.run([*COSMIC_RAY, "exec", settings, session], check=True, cwd=folder, env=environment)
    tested, alive = survivors(session)
    print(
        f"{name}: {tested} of {mutants} mutants tested, {len(alive)} survived", *alive, sep="\n", flush=True
    )
    return tested, len(alive)


def main(folder: Path, count: int, names: list[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    package = subprocess.run(
        [sys.executable, "-c", "import equiprop, pathlib; print(pathlib.Path(equiprop.__file__).parent)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    shutil.copytree(package, folder / "equiprop", ignore=shutil.ignore_patterns("__pycache__"))
    results = [mutate(name, folder, count) for name in names or TESTS]
    tested, alive = map(sum, zip(*results, strict=True))
    print(f"mutation score {100 * (1 - alive / tested):.1f} % of {tested} mutants")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), int(sys.argv[2]), sys.argv[3:])
