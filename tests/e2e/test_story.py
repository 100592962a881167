"""The main job, from an empty machine's point of view, with a person at the browser all the while."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.browser import BROWSER, DRIVER, Visitor, chromium
from tests.e2e.conftest import PATIENCE, Devenv, docker

pytestmark = pytest.mark.engine

WORDS = "Written before the upgrade, in a browser"


@pytest.fixture(scope="module")
def visitor(devenv: Devenv) -> Iterator[Visitor]:
    if not (Path(BROWSER).exists() and Path(DRIVER).exists()):
        pytest.skip("there is no Chromium with its driver; python -m tests.setup installs them")
    with chromium(devenv.stack.url) as one:
        yield one


def test_the_whole_story(devenv: Devenv, visitor: Visitor) -> None:
    up = devenv.done("up")
    assert up.of("action-ended")[0]["url"] == devenv.stack.url
    assert len(devenv.containers("php-fpm")) == 1

    visitor.log_in("jane_admin", "kitten")
    assert visitor.logged_in
    post = visitor.first_post()
    visitor.comment(post, WORDS)
    assert WORDS in visitor.comments(post)
    assert visitor.footer() == "v1"

    [before] = devenv.containers("php-fpm")
    upgraded = devenv.done("upgrade", "--to", "v2", "--probe", "4")
    [after] = devenv.containers("php-fpm")
    assert after != before
    assert visitor.footer() == "v2"
    assert visitor.logged_in
    assert WORDS in visitor.comments(post)
    receipt = upgraded.receipt
    assert receipt["verified"]
    assert (receipt["old"]["release"], receipt["new"]["release"]) == ("v1", "v2")
    assert receipt["new"]["epoch"] == receipt["old"]["epoch"] + 1
    probe = receipt["probe"]
    assert (probe["lost"], probe["failed"], probe["duplicated"], probe["uncounted"]) == (0, 0, 0, None)
    assert all(probe["by_phase"][phase] > 0 for phase in ("before", "held", "relayed", "after"))
    kept = Path(upgraded.of("receipt-written")[0]["path"])
    assert json.loads(kept.read_text())["total_after"] == receipt["total_after"]
    phases = {event["phase"]: event["time"] for event in upgraded.of("phase-reached")}
    [handover] = [event for event in upgraded.of("step-ended") if event["step"] == "handover"]
    assert phases["closing"] < phases["moved"] < phases["opened"] < handover["time"]

    back = devenv.done("rollback")
    assert back.receipt["new"]["release"] == "v1"
    assert visitor.footer() == "v1"
    assert visitor.logged_in
    assert WORDS in visitor.comments(post)
    assert devenv.done("verify").code == 0

    devenv.done("down")
    assert not devenv.containers("php-fpm") + devenv.containers("httpd")
    again = devenv.done("up")
    assert any("restored" in notice["text"] for notice in again.of("notice"))
    assert visitor.logged_in
    assert WORDS in visitor.comments(post)

    asked = devenv("reset")
    assert asked.code == 2
    assert asked.failure["why"]
    assert devenv.containers("php-fpm")
    devenv.done("reset", "--yes")
    devenv.done("up")
    assert not visitor.logged_in
    assert WORDS not in visitor.comments(post)


def test_a_second_up_changes_nothing(devenv: Devenv) -> None:
    devenv.done("up")
    before = devenv.containers("php-fpm") + devenv.containers("httpd")
    again = devenv.done("up")
    assert devenv.containers("php-fpm") + devenv.containers("httpd") == before
    built = [step for step in again.of("step-ended") if step["step"].startswith("build")]
    assert {step["result"] for step in built} == {"skipped"}


def test_a_person_without_a_terminal_reads_steps_and_gets_the_url(devenv: Devenv) -> None:
    up = devenv.start_plain("up", "--no-tui")
    data, talk = up.communicate(timeout=PATIENCE)
    assert up.returncode == 0, talk
    assert data.splitlines()[-1] == devenv.stack.url
    for step in ("container engine answers", "settings and secrets", "image httpd", "containers"):
        assert re.search(rf"^[✓·] {step} +\d+\.\d s", talk, re.MULTILINE), talk

    upgrade = devenv.start_plain("upgrade", "--to", "v2", "--probe", "2")
    data, talk = upgrade.communicate(timeout=PATIENCE)
    assert upgrade.returncode == 0, talk
    assert re.search(r"^v1 → v2 +epoch \d+ → \d+, lineage [0-9a-f]{16}$", data, re.MULTILINE), data
    assert re.search(r"^  symfony_demo_post +\d+ +\d+  =$", data, re.MULTILINE), data
    assert re.search(
        r"^  probe: 2 writers, acknowledged [1-9]\d*, failed 0, lost 0, duplicated 0", data, re.M
    )
    assert re.search(r"^✓ content verified: ", data, re.MULTILINE), data
    assert re.search(r"\d ms  owner v1  moved", talk), talk
    assert re.search(r"^✓ hand-over to v2 +\d+\.\d s", talk, re.MULTILINE), talk
    devenv.done("rollback")


def test_a_snapshot_brings_the_content_of_its_time_back(devenv: Devenv, visitor: Visitor) -> None:
    devenv.done("up")
    visitor.log_in("jane_admin", "kitten")
    post = visitor.first_post()
    visitor.comment(post, "in the snapshot")
    devenv.done("snapshot", "save")
    visitor.comment(post, "after the snapshot")
    devenv.done("snapshot", "restore", "latest", "--yes")
    comments = visitor.comments(post)
    assert "in the snapshot" in comments
    assert "after the snapshot" not in comments


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 800)])
def test_every_page_fits_a_telephone_and_a_desk(
    devenv: Devenv, visitor: Visitor, width: int, height: int
) -> None:
    devenv.done("up")
    visitor.log_in("jane_admin", "kitten")
    visitor.screen(width, height)
    assert visitor.width() == width
    pages = ["/", visitor.first_post(), "/?page=2", "/admin/posts", "/admin/posts/new", "/nothing-is-here"]
    assert {page: visitor.sideways(page) for page in pages} == dict.fromkeys(pages, 0)


def test_the_footer_names_the_instance_that_answers(devenv: Devenv, visitor: Visitor) -> None:
    devenv.done("up")
    [php] = devenv.containers("php-fpm")
    footer = visitor.footer_values()
    started = docker("inspect", "--format", "{{.State.StartedAt}}", php)[:16]
    assert php.startswith(footer["instance"])
    assert footer["release"] == devenv.done("status").of("answer")[0]["data"]["release"]
    assert footer["arch"] == docker("exec", php, "uname", "-m")
    assert footer["started"][:16] == started
    for name in ("release", "arch", "instance"):
        assert footer[name] in footer["text"]


def test_the_probe_counts_its_writes_exactly(devenv: Devenv) -> None:
    devenv.done("up")
    [answer] = devenv.done("probe", "--writers", "3", "--seconds", "2").of("answer")
    counted = answer["data"]
    assert counted["acknowledged"] > 10
    assert (counted["lost"], counted["failed"], counted["duplicated"]) == (0, 0, 0)


def test_the_stack_keeps_to_itself(devenv: Devenv) -> None:
    """Least privilege, no volume on the database, one listener on this machine, no secret where it shows."""
    devenv.done("up")
    [php] = devenv.containers("php-fpm")
    [httpd] = devenv.containers("httpd")
    inspected = json.loads(docker("inspect", php, httpd))
    for one in inspected:
        host = one["HostConfig"]
        assert host["CapDrop"] == ["ALL"]
        assert "no-new-privileges:true" in host["SecurityOpt"]
        assert host["Memory"] > 0
        assert host["PidsLimit"] > 0
        assert host["LogConfig"]["Config"]["max-size"]
        assert one["Config"]["User"] == "www-data"
    assert inspected[1]["HostConfig"]["ReadonlyRootfs"]
    assert inspected[0]["HostConfig"]["PortBindings"] in ({}, None)
    [[binding]] = inspected[1]["HostConfig"]["PortBindings"].values()
    assert binding["HostIp"] == "127.0.0.1"
    assert [mount["Destination"] for mount in inspected[0]["Mounts"] if mount["Type"] == "volume"] == [
        "/snapshots"
    ]
    lines = devenv.settings.read_text().splitlines()
    secrets = [line.partition("=")[2] for line in lines if "SECRET=" in line]
    assert [len(secret) for secret in secrets] == [64, 64]
    shown = docker("inspect", php, httpd) + docker("logs", php) + docker("logs", httpd)
    shown += docker("history", "--no-trunc", devenv.stack.image("php-fpm", "v1"))
    assert not any(secret in shown for secret in secrets)
    # php-fpm is root nowhere, and writes nowhere but to its data.
    written = subprocess.run(["docker", "exec", php, "touch", "/app/src/x"], capture_output=True, check=False)
    assert written.returncode != 0
