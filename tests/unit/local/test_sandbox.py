"""A grader that goes wrong harms nothing: each test is one attack."""

from __future__ import annotations

import io
import logging
import os
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from airflow_bedrock.local.work import sandbox
from airflow_bedrock.local.work.sandbox import Sandbox, SandboxError
from scripts.until import until


def zipped(code: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("attack.py", code)
    return packed.getvalue()


def run(body: str, seconds: float = 30, **environment: str) -> Any:
    """Run a function with this body on the event 1, and return its answer."""
    lines = "\n    ".join(body.strip().splitlines())
    code = f"import os, sys\ndef handler(event, context):\n    {lines}\n"
    (answer,) = Sandbox(zipped(code), "attack.handler", environment, [1], seconds).run()
    return answer


@pytest.fixture
def without_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that forbids namespaces, such as most containers."""
    monkeypatch.setattr(sandbox, "_namespaces", tuple)


needs_namespaces = pytest.mark.skipif(
    not sandbox._namespaces(), reason="this system does not let a user make namespaces: unshare --user --net --pid"
)


def running(mark: str) -> list[str]:
    """Return the processes that have an argument which nothing else has."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended
        if mark.encode() in arguments.split(b"\0"):
            found.append(process.name)
    return found


def test_what_it_prints_is_not_its_answer() -> None:
    """Printing, while it is imported too, does not spoil the answer."""
    code = "print('imported')\ndef handler(event, context):\n    print('called')\n    return event + 1\n"
    assert Sandbox(zipped(code), "attack.handler", {}, [1, 2], 30).run() == [2, 3]


@pytest.mark.usefixtures("without_namespaces")
def test_endless_loop_without_namespaces() -> None:
    """A function that never ends is ended, and the message says so."""
    with pytest.raises(SandboxError, match="it ran for more than 1 seconds"):
        run("while True: pass", seconds=1)


def test_endless_sleep() -> None:
    """Nor may it wait for ever, which costs no time of the CPU."""
    with pytest.raises(SandboxError, match="it ran for more than 1 seconds"):
        run("import time; time.sleep(1000)", seconds=1)


def test_cancelled_it_ends() -> None:
    """Who waits for it can end it."""
    endless = Sandbox(zipped("while True: pass"), "attack.handler", {}, [1], 1000)
    threading.Timer(0.3, endless.cancel).start()
    with pytest.raises(SandboxError):
        endless.run()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("held = []\nwhile True: held.append(bytearray(1 << 26))", "MemoryError"),
        ("with open('giant', 'wb') as file: file.truncate(1 << 40)", "File too large"),
        ("while True: os.write(1, b'x' * (1 << 20))", "File too large"),
        ("while True: os.write(2, b'x' * (1 << 20))", "x+"),
        ("os.write(1, b'[' * 100_000); os._exit(0)", "its response is not JSON"),
        ("os._exit(0)", "its response is not JSON"),
        ("os.kill(os.getpid(), 9)\nos._exit(9)", "it ended with status"),
    ],
    ids=["memory hog", "giant file", "endless answer", "endless log", "deep answer", "no answer", "killed"],
)
def test_limits(body: str, message: str) -> None:
    """What takes too much, or answers nothing, fails with its reason; and nothing of it is left."""
    with pytest.raises(SandboxError, match=message):
        run(body)


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that becomes too large when it is unpacked is refused before that."""
    monkeypatch.setattr(sandbox, "CODE_SIZE", 1 << 20)
    bomb = zipped("#" * (1 << 21) + "\ndef handler(event, context): return 1\n")
    assert len(bomb) < 1 << 14
    with pytest.raises(SandboxError, match="larger than 250 MB"):
        Sandbox(bomb, "attack.handler", {}, [1], 30).run()


def test_code_that_is_no_zip_file() -> None:
    """What cannot be decompressed is the function's fault."""
    with pytest.raises(SandboxError, match="not a zip file"):
        Sandbox(b"no zip file", "attack.handler", {}, [1], 30).run()


@pytest.mark.usefixtures("without_namespaces")
def test_a_fork_is_ended_too() -> None:
    """A process that it has started does not outlive it, even without namespaces."""
    mark = f"1000.{os.getpid()}1"
    run(f"import subprocess; subprocess.Popen(['/bin/sleep', '{mark}'])")
    until(lambda: not running(mark), "the process is gone")  # a kill takes effect a moment later


@needs_namespaces
def test_a_daemon_is_ended_too() -> None:
    """Nor does one that has left its session, where there are namespaces."""
    mark = f"1000.{os.getpid()}2"
    run(f"import subprocess; subprocess.Popen(['/bin/sleep', '{mark}'], start_new_session=True)")
    until(lambda: not running(mark), "the process is gone")  # a kill takes effect a moment later


@pytest.mark.parametrize("namespaces", [True, False])
def test_the_environment_is_its_own(namespaces: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It sees the variables of its own, and none of Local Bedrock's; not even before its code runs."""
    if not namespaces:
        monkeypatch.setattr(sandbox, "_namespaces", tuple)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the user")
    monkeypatch.setenv("PYTHONPATH", "/of/the/user")
    seen = run("return [dict(os.environ), open('/proc/self/environ').read()]", GOOD="wanted", LD_PRELOAD="own.so")
    assert {name: value for name, value in seen[0].items() if name != "LC_CTYPE"} == {
        "GOOD": "wanted",
        "LD_PRELOAD": "own.so",
    }
    assert seen[1] == ""


@needs_namespaces
def test_the_environment_of_others_is_not_to_be_read() -> None:
    """Where there are namespaces, the environment of Local Bedrock's process is out of reach as well."""
    with pytest.raises(SandboxError, match="PermissionError"):
        run(f"return open('/proc/{os.getpid()}/environ').read()")


def test_its_folder_is_a_new_one() -> None:
    """It works in a folder that holds its code alone, and is gone afterwards."""
    folder, files = run("open('left', 'w').close()\nreturn [os.getcwd(), sorted(os.listdir('.'))]")
    assert {"attack.py", "function.zip"} <= set(files) <= {"attack.py", "function.zip", "left", "__pycache__"}
    assert not Path(folder).exists()


@needs_namespaces
def test_a_socket_leads_nowhere() -> None:
    """Where there are namespaces, it reaches nothing by the network, not even a server of this computer."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(SandboxError, match="Network is unreachable"):
            run(f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 5)\nreturn 1")


def test_missing_namespaces_are_logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """What the system cannot forbid is said in the log, once, and graders run all the same."""
    sandbox._namespaces.cache_clear()
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr("shutil.which", lambda name: None)
        assert (run("return 1"), run("return 2")) == (1, 2)
    sandbox._namespaces.cache_clear()
    assert [one.message for one in caplog.records if "can reach the network" in one.message] == [
        "Local Bedrock: graders can reach the network and leave processes behind, because this system does not allow "
        "user namespaces (unshare --user --net --pid)."
    ]


def test_the_limits_hold_for_the_process() -> None:
    """They are the operating system's own, which a function cannot lift."""
    seen = run(
        "import resource\nreturn {n: resource.getrlimit(getattr(resource, n)) for n in dir(resource) if 'T_' in n}"
    )
    limits = sandbox._limits(30)
    assert limits["RLIMIT_FSIZE"] == sandbox.FILE_SIZE
    assert limits["RLIMIT_CPU"] == 31
    for name, most in limits.items():
        assert max(seen[name]) <= most
