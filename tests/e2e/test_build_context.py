"""An application's folder as the builder sees it, beside what we take it to see."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devenv import assets
from devenv.images.context import Context

pytestmark = pytest.mark.engine

NAMES = ("a", "b", "a.log", "b.log", "c d", "[x]")
PARTS = ("**", "*", "a", "b", "?", "[ab]", "[^a]", "a.log", "*.log", "c d", "a*", r"\\a")


@st.composite
def rules(draw: st.DrawFn) -> str:
    parts = draw(st.lists(st.sampled_from(PARTS), min_size=1, max_size=3))
    before, after = draw(st.sampled_from(("", "!", "/", "!/"))), draw(st.sampled_from(("", "/")))
    return f"{before}{'/'.join(parts)}{after}"


@given(st.lists(rules(), max_size=4))
@settings(max_examples=15, deadline=None)
def test_the_builder_leaves_out_what_we_take_it_to(lines: list[str]) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        app, out = folder / "app", folder / "out"
        names = [f"{one}/{two}/{three}" for one in "ab" for two in NAMES[:3] for three in NAMES]
        for name in (*names, "a.log", "c d/a", "a.d/b"):
            (app / name).parent.mkdir(parents=True, exist_ok=True)
            (app / name).touch()
        (app / ".dockerignore").write_text("\n".join(lines))
        (folder / "Dockerfile").write_text("FROM scratch\nCOPY --from=app / /\n")
        argv = ["docker", "buildx", "build", "--quiet", "--build-context", f"app={app}"]
        argv += ["--output", f"type=local,dest={out}", str(folder)]
        done = subprocess.run(argv, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        built = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
        ours = {name for name, _ in Context(app, assets.docker_context()).files()}
        assert built - {".dockerignore"} == ours - {".dockerignore"}
    finally:
        shutil.rmtree(folder)
