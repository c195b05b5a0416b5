"""The official SDK's own test suite for batches, from its sdist, run against the emulator.

Fetched with pip into a temporary folder, never kept. Its conftest is replaced by a smaller one of ours, since it needs
four more packages: the same client fixtures and one loop for the async functions. The functions that its authors stub
with respx get a `respx_mock` that intercepts nothing, so that they talk to the emulator. Of 27 sync and 27 async ones:

    test_method_results (stubbed)     left out: it asserts two made-up lines, {"foo":"bar"}, that no API would send
    test_raw_response_results,
    test_streaming_response_results   (stubbed) run unstubbed: the SDK follows the emulator's own results_url
    test_path_params_* (4)            run; they raise in the client and reach no server
    all others (20)                   run against the emulator, loose and strict; aiohttp is not installed, skipped
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
from importlib.metadata import version
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from dfbatch.emulator import Server

if TYPE_CHECKING:
    from pathlib import Path

SUITES = ("tests/api_resources/messages/test_batches.py", "tests/api_resources/beta/messages/test_batches.py")
OTHERS = (
    "tests/__init__.py",
    "tests/utils.py",
    "tests/api_resources/__init__.py",
    "tests/api_resources/messages/__init__.py",
)
CONFTEST = """
import asyncio
import inspect
import os

import pytest
from anthropic import Anthropic, AsyncAnthropic

base_url = os.environ["TEST_API_BASE_URL"]
api_key = "my-anthropic-api-key"
loop = asyncio.new_event_loop()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    loop.run_until_complete(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture(scope="session")
def client(request):
    strict = getattr(request, "param", True)
    with Anthropic(base_url=base_url, api_key=api_key, _strict_response_validation=strict) as it:
        yield it


@pytest.fixture(scope="session")
def async_client(request):
    asked = getattr(request, "param", True)
    if isinstance(asked, dict):
        pytest.skip("aiohttp is not installed")
    it = AsyncAnthropic(base_url=base_url, api_key=api_key, _strict_response_validation=asked)
    yield it
    loop.run_until_complete(it.close())


@pytest.fixture
def respx_mock():
    class Open:
        def get(self, path):
            return self

        def mock(self, return_value):
            return self

    return Open()
"""
RESPX = "class MockRouter: ...\n"


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two files and what they import, in a folder of their own."""
    folder = tmp_path_factory.mktemp("sdk")
    name = f"anthropic=={version('anthropic')}"
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--no-binary=anthropic",
        name,
        "-d",
        str(folder),
    ]
    fetched = subprocess.run(command, capture_output=True, text=True, check=False)
    if fetched.returncode:
        pytest.skip(f"the sdist cannot be fetched: {fetched.stderr[-200:]}")
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as sdist:
        root = sdist.getnames()[0].split("/")[0]
        for member in (
            *SUITES,
            *OTHERS,
            "tests/api_resources/beta/__init__.py",
            "tests/api_resources/beta/messages/__init__.py",
        ):
            sdist.extract(f"{root}/{member}", folder, filter="data")
    place = folder / root
    (place / "tests" / "conftest.py").write_text(CONFTEST)
    (place / "respx.py").write_text(RESPX)
    return place


def test_the_sdks_own_suite_passes(suite: Path) -> None:
    report = suite / "report.xml"
    with Server(seed_id="message_batch_id") as server:
        command = [
            sys.executable,
            "-m",
            "pytest",
            *SUITES,
            "-q",
            "--junitxml",
            str(report),
            "-k",
            "not test_method_results",
        ]
        command += ["-c", "/dev/null", "--rootdir", str(suite), "-p", "no:cacheprovider", "-W", "ignore"]
        run = subprocess.run(
            command,
            cwd=suite,
            env={"TEST_API_BASE_URL": server.url, "PYTHONPATH": str(suite), "PATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        calls = server.usage()["calls"]
    cases = list(ET.parse(report).getroot().iter("testcase"))
    skipped = [case for case in cases if case.find("skipped") is not None]
    failed = [case.get("name") for case in cases if case.find("failure") is not None or case.find("error") is not None]
    functions = {(case.get("classname"), str(case.get("name")).partition("[")[0]) for case in cases}

    assert failed == [], run.stdout
    assert run.returncode == 0
    assert len(functions) == 104
    assert {case.get("name", "").partition("[")[2] for case in skipped} == {"aiohttp]"}
    assert len(cases) - len(skipped) > 190
    assert calls["POST /v1/messages/batches"] == 4 * 4 * 2
    assert calls["GET /v1/messages/batches/{id}/results"] > 0
