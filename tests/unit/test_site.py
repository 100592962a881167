"""Whether the site works is what whoever opens it sees, not what its containers say of themselves."""

from __future__ import annotations

import pytest

from devenv.engine import content, lifecycle, site
from devenv.engine.context import Context
from devenv.errors import DevenvError
from devenv.model import events as e
from devenv.tools.http import Answer
from tests.unit.conftest import Told


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[Answer | Exception]:
    """What the site says, one after the other; the last one stays."""
    answers: list[Answer | Exception] = [Answer(200, "")]

    async def ask(port: int, path: str) -> Answer:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(site, "ask", ask)
    monkeypatch.setattr(site, "PATIENCE", 0.3)
    monkeypatch.setattr(site, "_AGAIN", 0.01)
    return answers


REFUSED = ConnectionRefusedError(111, "Connection refused")


@pytest.mark.parametrize(
    ("answer", "words", "next_step"),
    [
        (Answer(500, ""), "it answers 500", "devenv logs"),
        (Answer(503, ""), "it answers 503", "devenv logs"),
        (Answer(404, ""), "it answers 404", "[app] warmup"),
        (REFUSED, "nobody answers at http://127.0.0.1:8080/healthz", "docker context ls"),
        (TimeoutError(), "nobody answers", "devenv logs httpd"),
    ],
)
async def test_an_up_fails_where_the_page_is_not_there(
    ctx: Context, said: list[Answer | Exception], answer: Answer | Exception, words: str, next_step: str
) -> None:
    said[:] = [answer]
    with pytest.raises(DevenvError, match="the site does not work") as failed:
        await lifecycle.up(ctx)
    assert words in failed.value.what
    assert next_step in failed.value.next_step
    assert failed.value.log_tail == "the last line"


@pytest.mark.parametrize("answer", [Answer(200, ""), Answer(204, ""), Answer(302, "/login")])
async def test_what_an_upgrade_would_take_an_up_takes(
    ctx: Context, told: Told, said: list[Answer | Exception], answer: Answer
) -> None:
    said[:] = [answer]
    await lifecycle.up(ctx)
    assert not [one for one in told.of(e.Notice) if "installed" in one.text]  # type: ignore[attr-defined]


async def test_what_only_comes_late_is_waited_for(ctx: Context, said: list[Answer | Exception]) -> None:
    said[:] = [REFUSED, Answer(503, ""), Answer(502, ""), Answer(200, "")]
    await lifecycle.up(ctx)
    assert len(said) == 1


async def test_a_site_that_wants_to_be_installed_is_told_of(
    ctx: Context, told: Told, said: list[Answer | Exception]
) -> None:
    said[:] = [Answer(302, "/wp-admin/install.php")]
    await lifecycle.up(ctx)
    [words] = [one.text for one in told.of(e.Notice) if "installed" in one.text]  # type: ignore[attr-defined]
    assert "/wp-admin/install.php" in words


@pytest.mark.parametrize(
    ("host", "elsewhere"),
    [
        ("ssh://me@build", True),
        ("tcp://10.0.0.7:2375", True),
        ("tcp://127.0.0.1:2375", False),
        ("unix:///run/user/1000/docker.sock", False),
        ("", False),
    ],
)
async def test_where_the_engine_is_elsewhere_that_is_said(
    ctx: Context,
    said: list[Answer | Exception],
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    elsewhere: bool,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    said[:] = [REFUSED]
    with pytest.raises(DevenvError) as failed:
        await lifecycle.up(ctx)
    assert (f"the engine is at {host}" in failed.value.why) == elsewhere


@pytest.mark.parametrize(
    ("answer", "problem"), [(Answer(302, "/"), ""), (Answer(500, ""), "it answers 500"), (REFUSED, "nobody")]
)
async def test_a_status_says_that_it_serves_where_the_site_was_seen_to(
    ctx: Context, told: Told, said: list[Answer | Exception], answer: Answer | Exception, problem: str
) -> None:
    await lifecycle.up(ctx)
    said[:] = [answer]
    code = await content.status(ctx)
    data = told.of(e.Answer)[-1].data  # type: ignore[attr-defined]
    assert (code, data["serves"]) == ((1, False) if problem else (0, True))
    assert problem in data["problem"]
    assert bool(data["next"]) == bool(problem)
