"""What looks like a secret, before an image with it leaves this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from devenv import assets
from devenv.engine.context import Context as Wired
from devenv.engine.pushing import push
from devenv.images.context import Context
from devenv.images.suspects import suspects
from devenv.model import events as e
from tests.unit.conftest import FakeRegistry, Told

SECRET = {
    ".env": "APP_ENV=prod\nAPP_SECRET=0123456789abcdef\n",
    ".env.prod": "export DATABASE_PASSWORD='correct horse'\n",
    "config/prod.env": "STRIPE_API_KEY=abcdef123456\n",
    "config/tls.key": "x",
    "id_ed25519": "x",
    ".npmrc": "//registry/:_authToken=x",
    "src/Upload.php": "<?php $key = 'AKIAABCDEFGHIJKLMNOP';",
    "deploy.txt": "-----BEGIN OPENSSH PRIVATE KEY-----",
    "src/Hub.php": "token ghp_" + "a" * 36,
}
HARMLESS = {
    ".env.dist": 'APP_SECRET=\nDATABASE_PASSWORD=""\nMAILER_DSN=null://null\nTOKEN=change_me_please\n',
    ".env.example": "APP_KEY=${FROM_ELSEWHERE}\nSECRET=<your secret>\n",
    "public/index.php": "<?php $password = $_POST['password'];",
    "readme.md": "set APP_SECRET=0123456789abcdef in .env",
    "vendor/x/tests/key.pem": "-----BEGIN PRIVATE KEY-----",
    "empty.key": "",
    "auth.json": "left out",
    "logo.png": "\0AKIAABCDEFGHIJKLMNOP",
}


def of(folder: Path, files: dict[str, str]) -> list[str]:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return list(suspects(Context(folder, assets.docker_context())))


def test_what_looks_like_a_secret_is_named_with_why(tmp_path: Path) -> None:
    found = of(tmp_path, SECRET)
    assert {one.partition(" ")[0] for one in found} == set(SECRET)
    assert ".env (APP_SECRET)" in found
    assert "src/Upload.php (a key in it)" in found


def test_what_does_not_is_not(tmp_path: Path) -> None:
    assert of(tmp_path, HARMLESS) == []


def test_what_a_dockerignore_leaves_out_is_no_secret_that_leaves(tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").write_text("\n".join(SECRET))
    assert of(tmp_path, SECRET) == []


@pytest.mark.parametrize(("count", "words"), [(0, ""), (2, "0.key, 1.key;"), (7, "4.key and 2 more;")])
async def test_a_push_says_so_before_it_sends(ctx: Wired, told: Told, count: int, words: str) -> None:
    ctx.images.secrets = [f"{number}.key" for number in range(count)]  # type: ignore[attr-defined]
    assert isinstance(ctx.registry, FakeRegistry)
    ctx.registry.running = True
    await push(ctx)
    notices = [one.text for one in told.of(e.Notice) if "secrets" in one.text]  # type: ignore[attr-defined]
    assert bool(notices) == bool(count)
    assert words in "".join(notices)
