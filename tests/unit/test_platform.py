"""Names of platforms as people write them, and of images for them; what registries say."""

from __future__ import annotations

from typing import Any

import pytest

from devenv.errors import ConfigError, WrongPlatform
from devenv.model import platform, registry, stack
from devenv.model.plan import build, order, push
from devenv.model.registry import Refusal


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("linux/arm64", "linux/arm64"),
        (" Linux/AMD64 ", "linux/amd64"),
        ("arm64", "linux/arm64"),
        ("aarch64", "linux/arm64"),
        ("x86_64", "linux/amd64"),
        ("linux/arm64/v8", "linux/arm64"),
    ],
)
def test_a_platform_is_known_by_its_other_names(written: str, read: str) -> None:
    assert platform.read(written) == read


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("lunix/amd64", "the nearest is linux/amd64"),
        ("linux/arm46", "the nearest is linux/arm64"),
        ("windows/amd64", "linux/amd64"),
        ("", "linux/arm64"),
        ("linux/s390x", "it is linux/amd64 or linux/arm64"),
    ],
)
def test_what_is_no_platform_gets_the_nearest_one(written: str, hint: str) -> None:
    with pytest.raises(ValueError) as wrong:
        platform.read(written)
    assert hint in str(wrong.value)
    assert (written or "nothing") in str(wrong.value)


def test_a_list_has_each_once_in_its_order() -> None:
    assert platform.read_all("linux/arm64,amd64, aarch64") == ("linux/arm64", "linux/amd64")


def test_a_wrong_platform_of_devenv_toml_is_named_with_its_line() -> None:
    with pytest.raises(ConfigError) as wrong:
        stack.parse('[build]\nplatforms = ["linux/arm64", "lunix/amd64"]\n')
    assert (
        "lunix/amd64 is not a platform that devenv builds for; the nearest is linux/amd64" in wrong.value.why
    )
    assert "value error" not in wrong.value.why.lower()
    found = stack.parse('[build]\nplatforms = ["arm64", "x86_64"]\n')
    assert found.build.platforms == ("linux/arm64", "linux/amd64")


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("httpd:v1", "httpd-arm64:v1"),
        ("shop/php-fpm:v1", "shop/php-fpm-arm64:v1"),
        ("registry.example:5000/team/base:12", "registry.example:5000/team/base-arm64:12"),
        ("registry.example:5000/team/base", "registry.example:5000/team/base-arm64:latest"),
        ("debian@sha256:1a2b", "debian-arm64:1a2b"),
        ("debian:12@sha256:1a2b", "debian-arm64:1a2b"),
    ],
)
def test_an_image_for_another_platform_has_a_name_of_its_own(image: str, name: str) -> None:
    assert platform.local(image, "linux/arm64") == name


def test_a_program_that_dies_of_its_format_is_of_the_wrong_architecture() -> None:
    error = platform.did_not_come_up(
        "php-fpm-2", "php-fpm:v2", "v2", "it ended", "look", "exec gate: exec format error"
    )
    assert isinstance(error, WrongPlatform)
    assert error.next_step == "build the right one: devenv build --release v2"
    other = platform.did_not_come_up(
        "php-fpm-2", "php-fpm:v2", "v2", "it ended", "look", "segmentation fault"
    )
    assert not isinstance(other, WrongPlatform)
    assert (other.why, other.next_step) == ("it ended", "look")


def test_every_platform_is_built_beside_the_other_and_pushed_when_both_are_there() -> None:
    plan = push("v1", ("", "linux/arm64"))
    assert {step.name: step.after for step in plan.steps} == {
        "base": (),
        "build httpd": ("base",),
        "build php-fpm": ("base",),
        "base-arm64": (),
        "build httpd-arm64": ("base-arm64",),
        "build php-fpm-arm64": ("base-arm64",),
        "push httpd": ("build httpd", "build httpd-arm64"),
        "push php-fpm": ("build php-fpm", "build php-fpm-arm64"),
    }
    assert [step.title for step in order(build("v2", ("linux/arm64",)).steps)] == [
        "base image for linux/arm64",
        "image httpd:v2 for linux/arm64",
        "image php-fpm:v2 for linux/arm64",
    ]


def test_names_in_a_registry() -> None:
    seed = "public.example/1a2b/application"
    assert registry.reference(seed, "tags", "httpd", "v1") == f"{seed}:httpd-v1"
    assert registry.reference(seed, "repositories", "php-fpm", "v1") == f"{seed}/php-fpm:v1"
    assert registry.at_digest("localhost:5001/app:httpd-v1", "sha256:1") == "localhost:5001/app@sha256:1"
    assert registry.at_digest("localhost:5001/app@sha256:0", "sha256:1") == "localhost:5001/app@sha256:1"


@pytest.mark.parametrize(
    ("reference", "host"),
    [
        ("localhost:5001/app:httpd-v1", "localhost:5001"),
        ("localhost/app", "localhost"),
        ("registry.example/team/app:v1", "registry.example"),
        ("team/app:v1", ""),
        ("app:v1", ""),
    ],
)
def test_the_host_of_a_reference(reference: str, host: str) -> None:
    assert registry.host(reference) == host


def of(os: str, architecture: str, digest: str, **more: str) -> dict[str, Any]:
    return {"digest": digest, "platform": {"os": os, "architecture": architecture, **more}}


def test_an_index_is_read_by_platform_without_the_records_of_its_build() -> None:
    raw = {
        "manifests": [
            of("linux", "amd64", "sha256:1"),
            of("linux", "arm64", "sha256:2", variant="v8"),
            of("unknown", "unknown", "sha256:3"),
            {"digest": "sha256:4"},
        ]
    }
    assert registry.manifests(raw) == {"linux/amd64": "sha256:1", "linux/arm64": "sha256:2"}
    assert registry.manifests({"config": {"digest": "sha256:5"}}) == {}
    assert registry.configuration({"config": {"digest": "sha256:5"}}) == "sha256:5"


REPOSITORY = "registry.example/app"


@pytest.mark.parametrize(
    ("said", "what", "next_step", "again", "absent"),
    [
        ("dial tcp 127.0.0.1:5001: connect: connection refused", "does not answer", "try again", True, False),
        ("lookup registry.example: no such host", "does not answer", "try again", True, False),
        ("received unexpected HTTP status: 500 Internal Server Error", "fails", "room left", True, False),
        (
            "unexpected status from HEAD request to https://registry.example/v2/: 503 X",
            "fails",
            "log",
            True,
            False,
        ),
        (
            "unauthorized: authentication required",
            "who you are",
            "docker login registry.example",
            False,
            False,
        ),
        ("no basic auth credentials", "who you are", "docker login registry.example", False, False),
        ("denied: requested access to the resource is denied", "refuses", "docker login", False, False),
        ("unexpected status from POST request: 403 Forbidden", "refuses", "docker login", False, False),
        ("pull access denied, repository does not exist", "refuses", "docker login", False, True),
        ("tls: failed to verify certificate: x509: unknown authority", "certificate", "ca.crt", False, False),
        ("http: server gave HTTP response to HTTPS client", "plain HTTP", "certificate", False, False),
        ("write /var/lib/registry: no space left on device", "no room", "make room", False, False),
        (
            "name unknown: The repository with name 'app' does not exist",
            "no repository",
            "make it",
            False,
            True,
        ),
        ("ERROR: registry.example/app:httpd-v1: not found", "no such image", "devenv push", False, True),
    ],
)
def test_what_a_registry_says_and_what_to_do(
    said: str, what: str, next_step: str, again: bool, absent: bool
) -> None:
    found: Refusal = registry.refusal(said, "registry.example", REPOSITORY)
    assert what in found.what
    assert next_step in found.next_step
    assert (found.again, found.absent) == (again, absent)


def test_a_registry_of_this_machine_that_is_silent_can_be_started() -> None:
    found = registry.refusal("connection refused", "localhost:5001", "localhost:5001/devenv")
    assert "devenv registry up" in found.next_step
