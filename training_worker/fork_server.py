"""Fork processes from one that has loaded torch and the modules on it, which takes five seconds of processor time.

A server loads modules and forks a process for each client. The client is a command like any other: its process gets its
environment, folder and standard streams. A signal to the client reaches the process, and both end alike.

    python training_worker/fork_server.py run ADDRESS MODULE ARGUMENT…    as `python -m MODULE ARGUMENT…`

This file imports the standard library alone, so that a client starts at once. It needs Linux.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

_STREAMS = (0, 1, 2)
_NUMBER = struct.Struct("i")
_LENGTH = struct.Struct("I")
_LONGEST_FOLDER = 70


class ForkServer:
    """The server of this process. It ends with this process, and so do the processes that it has forked.

    Args:
        modules: the modules to load before the first process is forked.
        environment: variables that their loading needs besides this process's environment.

    Attributes:
        address: a socket in the file system; None before `start`.

    """

    def __init__(self, *modules: str, environment: Mapping[str, str] | None = None) -> None:
        self._modules = modules
        self._environment = environment or {}
        self._owner: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.address: Path | None = None

    def start(self) -> None:
        """Start the server where this process has none yet. It loads the modules when the first client comes."""
        if self._owner == os.getpid() and self._process is not None and self._process.poll() is None:
            return
        # A socket's path may have 107 characters; the folder for temporary files may be longer than that.
        short = None if len(tempfile.gettempdir()) <= _LONGEST_FOLDER else "/tmp"
        self._owner = os.getpid()
        self.address = Path(tempfile.mkdtemp(prefix="feedback-kto-", dir=short)) / "socket"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.address))
            listener.listen()
            # A process group of its own: Ctrl-C is for the clients, who hand it on.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "training_worker.fork_server", "serve", str(listener.fileno()), *self._modules],
                cwd=Path(__file__).parent.parent, env={**os.environ, **self._environment},
                stdin=subprocess.PIPE, pass_fds=[listener.fileno()], process_group=0,
            )  # fmt: skip

    def load(self) -> None:
        """Let the server load the modules in the background."""
        self.start()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.address))

    def command(self, module: str, *arguments: str) -> list[str]:
        """Return the command that does what `python -m MODULE ARGUMENT…` does, in a process of the server's."""
        self.start()
        return client_command(str(self.address), module, *arguments)


def client_command(address: str, module: str, *arguments: str) -> list[str]:
    """Return the command that does what `python -m MODULE ARGUMENT…` does, in a process of the server at `address`."""
    return [sys.executable, "-IS", __file__, "run", address, module, *arguments]


def serve(listener: socket.socket, modules: Sequence[str]) -> None:
    """Fork a process for each client until standard input ends, as it does when the server's owner ends."""
    address = Path(listener.getsockname())
    try:
        loaded = False
        while 0 not in _ready(listener, 0):
            client, _ = listener.accept()
            if not loaded:
                for module in modules:
                    importlib.import_module(module)
                signal.signal(signal.SIGCHLD, signal.SIG_IGN)
                gc.freeze()  # or the first collection in each process would copy all that was loaded
                loaded = True
            if os.fork() == 0:
                try:
                    listener.close()
                    _attend(client)
                except Exception:  # noqa: BLE001 (one client's failure is not the server's)
                    traceback.print_exc()
                finally:
                    os._exit(1)  # the clean-up below is the server's
            client.close()
    finally:
        shutil.rmtree(address.parent, ignore_errors=True)


def _attend(client: socket.socket) -> NoReturn:
    """Fork the client's process, report its exit code, and end it where the client or the server's owner ends first."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, streams, _, _ = socket.recv_fds(client, _LENGTH.size, len(_STREAMS))
    if not head:  # a client that only wants the modules loaded
        os._exit(0)
    task = json.loads(_receive(client, _LENGTH.unpack(head)[0]))
    process = os.fork()
    if process == 0:
        client.close()
        _become(task, streams)
    ended = os.pidfd_open(process)
    with suppress(
        OSError
    ):  # the client may have ended while the modules were loaded: then it is ready, and not `ended`
        client.sendall(_NUMBER.pack(process))
    if ended not in _ready(client, 0, ended):
        os.kill(process, signal.SIGTERM)
    _, status = os.waitpid(process, 0)
    with suppress(OSError):
        client.sendall(_NUMBER.pack(os.waitstatus_to_exitcode(status)))
    os._exit(0)


def _ready(*files: socket.socket | int) -> list[socket.socket | int]:
    """Wait until some of the files have something to read, or have ended, and return these."""
    return select.select([*files], [], [])[0]


def _become(task: Mapping[str, Any], streams: Sequence[int]) -> NoReturn:
    """Run the client's module as `python -m MODULE ARGUMENT…` would in the client itself."""
    code = 1
    try:
        for stream, received in zip(_STREAMS, streams, strict=True):
            os.dup2(received, stream)
            os.close(received)
        os.chdir(task["folder"])
        os.environ.clear()
        os.environ.update(task["environment"])
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background lacks it
        sys.argv[1:] = task["arguments"]
        runpy.run_module(task["module"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code & 0xFF if isinstance(end.code, int) else 1 if end.code else 0
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except KeyboardInterrupt:
        code = -signal.SIGINT
    except Exception:  # noqa: BLE001 (as Python does with an exception that nobody catches)
        traceback.print_exc()
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    _end(code)


def run(address: str, module: str, arguments: Sequence[str]) -> NoReturn:
    """Act as the client: let a process run the module, pass signals on to it, and end as it does."""
    task = {"module": module, "arguments": arguments, "folder": str(Path.cwd()), "environment": dict(os.environ)}
    text = json.dumps(task).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        socket.send_fds(server, [_LENGTH.pack(len(text))], _STREAMS)
        server.sendall(text)
        process = _NUMBER.unpack(_receive(server, _NUMBER.size))[0]
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda received, _: os.kill(process, received))
        _end(_NUMBER.unpack(_receive(server, _NUMBER.size))[0])


def _receive(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        chunk = connection.recv(size - len(received))
        if not chunk:
            raise ConnectionError("the other end of the connection is gone")
        received += chunk
    return received


def _end(code: int) -> NoReturn:
    """End with an exit code, or by a signal where it is below 0, without exit handlers."""
    if code < 0:
        with suppress(OSError):  # some signals cannot be caught
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    action, address, *words = sys.argv[1:]
    if action == "serve":
        serve(socket.socket(fileno=int(address)), words)
    else:
        run(address, words[0], words[1:])
