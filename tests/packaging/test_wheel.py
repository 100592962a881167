"""The wheel: installed, it works without a checkout, and holds nothing that a checkout may keep to itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from devenv import __version__
from devenv.images import inputs

ROOT = Path(__file__).parents[2]
PARTS = (".dockerignore", ".gitignore", "compose", "devenv", "docker", "k8s", "pyproject.toml")
SERVICES = ("httpd", "php-fpm")

ARGUMENTS = {"DOCUMENT_ROOT": "public"}


def run(*argv: str | Path, cwd: Path) -> str:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env |= {"XDG_STATE_HOME": str(cwd / "state"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run([str(word) for word in argv], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that was used: secrets, and what the site leaves behind when it is run in place."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, folder / name)
    for name in ("compose/.env", "docker/app/data/database.sqlite", "docker/app/var/cache/x", "dist/x"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("secret")
    return folder


@pytest.fixture(scope="module")
def installed(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A venv of its own; only what devenv depends on comes from this one."""
    folder = tmp_path_factory.mktemp("installed")
    pip = (sys.executable, "-m", "pip", "--quiet")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, checkout, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    venv = folder / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=folder)
    run(*pip, "--python", venv / "bin/python", "install", "--no-deps", "--no-index", wheel, cwd=folder)
    here = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (venv / "lib" / here / "site-packages" / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return venv


@pytest.fixture(scope="module")
def assets(installed: Path) -> Path:
    (found,) = installed.glob("lib/python*/site-packages/devenv/_assets")
    return found


def test_it_runs_from_any_folder(installed: Path, tmp_path: Path) -> None:
    devenv = installed / "bin/devenv"
    assert run(devenv, "--version", cwd=tmp_path) == f"devenv {__version__}\n"
    answer = json.loads(run(devenv, "config", "show", "--json", cwd=tmp_path).splitlines()[1])
    assert answer["data"]["stack"]["name"] == "devenv"


@pytest.mark.parametrize(
    "name",
    [
        ".dockerignore",
        "compose/compose.yaml",
        "k8s/kind.yaml",
        "k8s/overlays/kind/kustomization.yaml",
        "devenv/handover/__main__.py",
        "docker/app/public/index.php",
        "docker/base/build.sh",
        "docker/httpd/Dockerfile",
        "docker/node/build.sh",
        "docker/node/programs/go.mod",
        "docker/node/programs/go.sum",
        "docker/php-fpm/Dockerfile",
        "docker/php-fpm/gate",
    ],
)
def test_what_images_are_built_from_is_in_it(assets: Path, name: str) -> None:
    assert (assets / name).read_bytes() == (ROOT / name).read_bytes()
    assert os.access(assets / name, os.X_OK) == os.access(ROOT / name, os.X_OK)


def test_what_a_checkout_keeps_to_itself_is_not_in_it(assets: Path) -> None:
    assert not any(
        path.read_text(errors="replace") == "secret" for path in assets.rglob("*") if path.is_file()
    )
    assert [path.name for path in (assets / "compose").iterdir()] == ["compose.yaml"]
    assert not (assets / "docker/app/var").exists()
    assert not (assets / "docker/app/data").exists()


@pytest.mark.parametrize("service", SERVICES)
def test_its_images_are_those_of_the_checkout(
    installed: Path, checkout: Path, service: str, tmp_path: Path
) -> None:
    """Not built again after a change from the one to the other, because nothing differs."""
    program = (
        "from devenv import assets; from devenv.images import inputs;"
        f"print(assets.in_checkout(), assets.compose_file().is_file());"
        f"print(inputs.digest({service!r}, assets.docker_context(), None, {ARGUMENTS}))"
    )
    found = run(installed / "bin/python", "-c", program, cwd=tmp_path)
    assert found.splitlines() == ["False True", inputs.digest(service, checkout, None, ARGUMENTS)]
