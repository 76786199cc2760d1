"""The packaging: what setup.py declares, what the constraints pin, how the scripts fail. Installs nothing."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ["examples/bootstrap.sh", "tests/run.sh", ".ci/run"]
SETUP = runpy.run_path(str(ROOT / "setup.py"))


def requirements() -> list[Requirement]:
    """Returns every requirement that setup.py names, extras included."""
    extras = [text for texts in SETUP["EXTRAS_REQUIRE"].values() for text in texts]
    return [Requirement(text) for text in [*SETUP["INSTALL_REQUIRES"], *extras]]


def constraints() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


def names_for(wanted: list[Requirement], python: str) -> dict[str, str]:
    """Returns name -> version specifier of those that hold for a Python version."""
    environment = {"python_version": python}
    return {
        canonicalize_name(r.name): str(r.specifier)
        for r in wanted
        if r.marker is None or r.marker.evaluate(environment)
    }


def bootstrap(folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """Runs a copy of the bootstrap in an otherwise empty folder, outside any active environment."""
    script = folder / "examples" / "bootstrap.sh"
    script.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "examples" / "bootstrap.sh", script)
    for name in ("setup.py", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    base = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHON")}
    command = ["bash", "-c", 'set -euo pipefail; source "$1"; mos_bootstrap; echo reached', "-", str(script)]
    return subprocess.run(command, env={**base, **environment}, capture_output=True, text=True, timeout=120)


def error_lines(result: subprocess.CompletedProcess) -> list[str]:
    assert "reached" not in result.stdout
    return [line for line in result.stderr.splitlines() if not line.startswith("[bootstrap]")]


def test_version_has_one_source():
    command = [sys.executable, "setup.py", "--name", "--version"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    source = (ROOT / "fairseq_mos" / "version.py").read_text(encoding="utf-8")
    version = re.search(r'^__version__ = "(\d+\.\d+\.\d+)"$', source, re.M).group(1)
    assert shown.stdout.split() == ["fairseq-mos", version]


@pytest.mark.parametrize(
    ("python", "expected"),
    [
        ("3.11", {"fairseq-fixed": "==0.12.3.1"}),
        ("3.13", {"fairseq-fixed": "==0.12.3.1"}),
    ],
)
def test_markers_choose_one_fairseq(python, expected):
    chosen = names_for(requirements(), python)
    assert {name: spec for name, spec in chosen.items() if name.startswith("fairseq")} == expected


def test_extras():
    extras = SETUP["EXTRAS_REQUIRE"]
    assert set(extras) == {"search", "plot", "examples", "export", "huggingface", "data", "glue", "dev", "all"}
    assert "Babel==2.18.0" in extras["examples"]
    assert set(extras["examples"]) | set(extras["plot"]) < set(extras["dev"])
    assert set(extras["all"]) == {text for name, texts in extras.items() if name != "all" for text in texts}


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_constraints_pin_every_requirement_exactly(python):
    pinned = names_for(constraints(), python)
    wanted = names_for(requirements(), python)
    assert set(wanted) <= set(pinned)
    assert all(re.fullmatch(r"==[0-9.]+(\.post[0-9]+)?", spec) for spec in pinned.values()), pinned
    versions = {"torch": "==2.13.0", "hydra-core": "==1.3.2", "omegaconf": "==2.3.0"}
    assert {name: pinned[name] for name in versions} == versions
    for requirement in requirements():
        name = canonicalize_name(requirement.name)
        if name in wanted:
            assert requirement.specifier.contains(pinned[name][2:]), requirement


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_constraints_name_nothing_twice(python):
    environment = {"python_version": python}
    holding = [
        canonicalize_name(r.name) for r in constraints() if r.marker is None or r.marker.evaluate(environment)
    ]
    assert len(holding) == len(set(holding))
    assert "torch" in holding and "fairseq-fixed" in holding


def test_every_folder_with_code_is_a_package():
    folders = {path.parent for path in (ROOT / "fairseq_mos").rglob("*.py")}
    # Without __init__.py a folder works in a checkout and is missing from the wheel.
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_wheel_carries_the_configs(tmp_path):
    source = tmp_path / "source"
    for name in ("fairseq_mos", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build", "--build-lib", str(tmp_path / "lib")],
        cwd=source, capture_output=True, check=True,
    )  # fmt: skip
    built = tmp_path / "lib" / "fairseq_mos" / "configs"
    shipped = {path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.yaml")}
    assert Path("spaces/tiny.yaml") in shipped
    assert {path.relative_to(built) for path in built.rglob("*.yaml")} == shipped
    assert (tmp_path / "lib" / "fairseq_mos" / "version.py").exists()


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_parse_and_are_executable(script):
    assert os.access(ROOT / script, os.X_OK)
    result = subprocess.run(["bash", "-n", str(ROOT / script)], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


def test_bootstrap_names_a_python_that_does_not_exist(tmp_path):
    result = bootstrap(tmp_path / "with space", PYTHON="python9.9")
    assert result.returncode == 2
    assert error_lines(result) == [
        "bootstrap: error: PYTHON=python9.9: no such program; Python 3.11 to 3.13 is supported"
    ]
    assert not (tmp_path / "with space" / ".venv").exists()


def fake_program(folder: Path, name: str, body: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_bootstrap_refuses_an_unsupported_python(tmp_path):
    old = fake_program(tmp_path, "old-python", "echo 3.8")
    result = bootstrap(tmp_path / "repository", PYTHON=str(old))
    assert result.returncode == 2
    (line,) = error_lines(result)
    assert line.startswith(f"bootstrap: error: PYTHON={old} is Python 3.8; Python 3.11 to 3.13 is supported")


def test_bootstrap_names_a_missing_venv_module(tmp_path):
    bare = fake_program(tmp_path, "bare-python", 'case $2 in *ensurepip*) exit 1 ;; *) echo 3.11 ;; esac')
    result = bootstrap(tmp_path / "repository", PYTHON=str(bare))
    assert result.returncode == 2
    (line,) = error_lines(result)
    assert "no venv or ensurepip" in line and "apt-get install python3.11-venv" in line


def test_bootstrap_names_an_active_environment_that_is_gone(tmp_path):
    result = bootstrap(tmp_path / "repository", VIRTUAL_ENV=str(tmp_path / "gone"))
    assert result.returncode == 2
    (line,) = error_lines(result)
    assert line.startswith(f"bootstrap: error: the active environment {tmp_path / 'gone'} has no bin/python")


def active_environment(folder: Path) -> Path:
    """Makes an environment without packages and with a pip that only answers to --version."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "pip.py").write_text("import sys\nsys.exit(sys.argv[1] != '--version')\n", encoding="utf-8")
    return folder


def test_bootstrap_names_a_missing_compiler(tmp_path):
    environment = active_environment(tmp_path / "active")
    if sys.version_info[:2] == (3, 12):
        pytest.skip("fairseq-fixed has a wheel for Python 3.12")
    result = bootstrap(tmp_path / "repository", VIRTUAL_ENV=str(environment), CXX="no-such-compiler")
    assert result.returncode == 2
    (line,) = error_lines(result)
    assert line.startswith("bootstrap: error: no C++ compiler (no-such-compiler)")
    assert "apt-get install g++" in line


def test_bootstrap_refuses_to_overwrite_another_fairseq(tmp_path):
    environment = active_environment(tmp_path / "active")
    installed = next(environment.glob("lib/python*/site-packages")) / "fairseq-0.12.2.dist-info"
    installed.mkdir()
    metadata = "Metadata-Version: 2.1\nName: fairseq\nVersion: 0.12.2\n"
    (installed / "METADATA").write_text(metadata, encoding="utf-8")
    result = bootstrap(tmp_path / "repository", VIRTUAL_ENV=str(environment))
    assert result.returncode == 2
    (line,) = error_lines(result)
    assert "holds the package fairseq, whose files fairseq-fixed would overwrite" in line
