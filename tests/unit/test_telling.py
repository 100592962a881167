"""The line that says why, in what real programs say when they fail."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devenv.tools.telling import telling

KIND = """Creating cluster "shop" ...
 • Starting control-plane  ...
 ✗ Starting control-plane
ERROR: failed to create cluster: failed to init node with kubeadm: command "docker exec" failed
Command Output:
I1130 05:22:36 runtime started
k8s.io/kubernetes/cmd/kubeadm/app/cmd.newCmdInit.func1
	cmd/kubeadm/app/cmd/init.go:128
runtime.goexit
	runtime/asm_amd64.s:1771
"""
COMPOSER = """Installing dependencies from lock file
Your lock file does not contain a compatible set of packages.
  Problem 1
    - Root composer.json requires ext-intl * but it is missing from your system. Install or enable it.
"""
PHP = """PHP Warning:  Module "x" is already loaded in Unknown on line 0
PHP Fatal error:  Uncaught Error: Call to undefined function mb_strtoupper() in /app/bin/console:7
Stack trace:
#0 {main}
  thrown in /app/bin/console on line 7
"""
APT = """Reading package lists...
E: Unable to locate package php8.2-nothing
"""
PYTHON = """Traceback (most recent call last):
  File "/app/x.py", line 3, in <module>
    run()
ValueError: the value is none
"""
NPM = """npm ERR! code E404
npm ERR! 404 Not Found - GET https://registry.example/left-pad
npm ERR! A complete log of this run can be found in: ~/.npm/_logs/x.log
"""
GIT = """Cloning into 'x'...
fatal: could not read Username for 'https://example.org': No such device or address
"""
MAKE = """cc -c x.c
x.c:1:10: fatal error: sqlite3.h: No such file or directory
compilation terminated.
make: *** [Makefile:3: x.o] Error 1
"""


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (KIND, "ERROR: failed to create cluster"),
        (COMPOSER, "requires ext-intl"),
        (PHP, "undefined function mb_strtoupper"),
        (APT, "E: Unable to locate package"),
        (PYTHON, "ValueError: the value is none"),
        (NPM, "404 Not Found"),
        (GIT, "fatal: could not read Username"),
        (MAKE, "sqlite3.h: No such file"),
        ("one\ntwo\n\n", "two"),
        ("", ""),
    ],
    ids=["kind", "composer", "php", "apt", "python", "npm", "git", "make", "plain", "nothing"],
)
def test_the_line_that_says_why_is_found(said: str, words: str) -> None:
    assert words in telling(said.splitlines())


@given(st.lists(st.text(max_size=60), max_size=8))
def test_what_was_said_is_told_as_long_as_there_is_anything(lines: list[str]) -> None:
    found = telling(lines)
    assert found in [line.strip() for line in lines] or found == ""
    assert bool(found) == any(line.strip() for line in lines)
