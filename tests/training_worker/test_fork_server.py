"""Forked processes are as `python -m MODULE` would have been: what they get, how they end, and with whom."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from training_worker.fork_server import ForkServer

ROOT = Path(__file__).resolve().parents[2]
# A module of a test's own, which the server's Python finds.
MODULE = """
import json, os, signal, sys, time

what, *rest = sys.argv[1:]
print(json.dumps([what, os.getcwd(), os.environ.get("SAID"), sys.stdin.read() if what == "read" else ""]), flush=True)
print("aside", file=sys.stderr)
if what == "fail":
    raise ValueError("no good")
if what == "exit":
    sys.exit(int(rest[0]))
if what == "refuse":
    sys.exit("refused")
if what == "die":
    os.kill(os.getpid(), signal.SIGKILL)
if what == "wait":
    print(os.getpid(), flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    folder = tmp_path_factory.mktemp("modules")
    (folder / "forked_example.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{folder}:{ROOT}")
        made = ForkServer("json")
        made.start()
        yield made


def start(server: ForkServer, *arguments: str, **given: object) -> subprocess.Popen[str]:
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(server.command("forked_example", *arguments), text=True, **streams, **given)


def test_it_gets_arguments_folder_environment_and_streams(server: ForkServer, tmp_path: Path) -> None:
    process = start(server, "read", cwd=tmp_path, env={"SAID": "this"})
    out, error = process.communicate("from here", timeout=60)
    assert out == f'["read", "{tmp_path}", "this", "from here"]\n'
    assert error == "aside\n"
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["exit", "3"], 3, ""),
        (["exit", "0"], 0, ""),
        (["exit", "-1"], 255, ""),
        (["refuse"], 1, "refused\n"),
        (["fail"], 1, "ValueError: no good\n"),
        (["die"], -signal.SIGKILL, ""),
    ],
)
def test_it_ends_as_a_process_of_its_own_would(server: ForkServer, arguments: list[str], code: int, said: str) -> None:
    process = start(server, *arguments)
    _, error = process.communicate(timeout=60)
    assert process.returncode == code
    assert error.endswith(said)
    alone = subprocess.run(
        [sys.executable, "-m", "forked_example", *arguments], capture_output=True, text=True, check=False
    )
    assert (alone.returncode, alone.stderr.splitlines()[-1:]) == (code, error.splitlines()[-1:])


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, -signal.SIGINT)])
def test_a_signal_reaches_it_and_ends_both(server: ForkServer, sent: signal.Signals, code: int) -> None:
    process = start(server, "wait")
    assert process.stdout is not None
    process.stdout.readline()
    waiting = psutil.Process(int(process.stdout.readline()))
    process.send_signal(sent)
    assert process.wait(timeout=60) == code
    assert ended(waiting)


def test_killed_the_client_takes_its_process_along(server: ForkServer) -> None:
    process = start(server, "wait")
    assert process.stdout is not None
    process.stdout.readline()
    waiting = psutil.Process(int(process.stdout.readline()))
    process.kill()
    process.wait()
    assert ended(waiting)


def test_a_client_that_ends_while_modules_load_takes_its_process_along_and_harms_no_other(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_module.py").write_text("import time; time.sleep(1)")
    begun = tmp_path / "begun"
    (tmp_path / "forked_marker.py").write_text(f"open({str(begun)!r}, 'w').write('x'); import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    slow = ForkServer("slow_module", "json")
    process = subprocess.Popen(slow.command("forked_marker"))
    time.sleep(0.5)
    process.kill()
    process.wait()
    done = subprocess.run(slow.command("platform"), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and done.stdout, "the server goes on"
    time.sleep(0.5)
    children = psutil.Process(slow._process.pid).children(recursive=True)
    assert [child for child in children if child.status() != psutil.STATUS_ZOMBIE] == []


def test_a_server_that_was_killed_is_started_anew(tmp_path: Path) -> None:
    dying = ForkServer("json")
    dying.start()
    dying._process.kill()
    dying._process.wait()
    done = subprocess.run(dying.command("platform"), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and done.stdout


def test_a_long_temporary_folder_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    done = subprocess.run(ForkServer("json").command("platform"), capture_output=True, timeout=60, check=False)
    assert done.returncode == 0


def test_all_end_with_whoever_started_the_server(server: ForkServer) -> None:
    """Also where that one is killed, and says nothing."""
    code = """
import subprocess, time
from training_worker.fork_server import ForkServer
server = ForkServer("json")
subprocess.Popen(server.command("forked_example", "wait"))
print(server.address, flush=True)
time.sleep(60)
"""
    owner = subprocess.Popen([sys.executable, "-c", code], text=True, stdout=subprocess.PIPE, cwd=ROOT)
    assert owner.stdout is not None
    lines = [owner.stdout.readline().strip() for _ in range(3)]
    waiting = psutil.Process(int(next(line for line in lines if line.isdigit())))
    address = Path(next(line for line in lines if line.startswith("/")))
    assert address.is_socket()
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    assert ended(waiting)
    deadline = time.monotonic() + 20
    while address.parent.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not address.parent.exists()


def ended(process: psutil.Process) -> bool:
    """Whether it ends in time; a process that got its number afterwards is another."""
    gone, _ = psutil.wait_procs([process], timeout=20)
    return bool(gone)
