"""The `updraft` command as a process of its own for each call, at the price of its imports once.

A command imports scikit-learn and Great Expectations, which takes seconds. Here a process imports them first and then
forks for each call: the child imports `updraft` itself, from the first folder in its PYTHONPATH, and ends with it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess

LIBRARIES = (
    "great_expectations", "pandas", "pyarrow.parquet", "pydantic", "pymongo", "rich.console", "ruamel.yaml",
    "sklearn.compose", "sklearn.ensemble", "sklearn.feature_extraction.text", "sklearn.linear_model", "typer",
)  # fmt: skip


class Shell:
    """Runs commands one after the other."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        self._server = server

    def run(
        self, environ: Mapping[str, str], *arguments: str, cwd: Path | None = None, stderr: Path | None = None
    ) -> CompletedProcess[str]:
        """Run `updraft` with these variables and no others; `stderr` may be a terminal for it to write to."""
        assert self._server.stdin and self._server.stdout
        sys.audit("subprocess.Popen", "updraft", ["updraft", *arguments])  # for the guard of `marks`
        with tempfile.TemporaryDirectory() as folder:
            outputs = [str(Path(folder) / "stdout"), str(stderr or Path(folder) / "stderr")]
            call = {"arguments": arguments, "environ": dict(environ), "cwd": str(cwd or Path.cwd()), "outputs": outputs}
            print(json.dumps(call), file=self._server.stdin, flush=True)
            code = int(self._server.stdout.readline())
            written = [Path(output).read_text() if Path(output).is_file() else "" for output in outputs]
        return CompletedProcess(["updraft", *arguments], code, *written)


@contextmanager
def shell() -> Iterator[Shell]:
    """Yield a shell; the process behind it ends with the block."""
    with subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        yield Shell(server)
        assert server.stdin
        server.stdin.close()


def serve() -> None:
    """Answer each line of stdin, a call, with its exit code."""
    for library in LIBRARIES:
        __import__(library)
    sys.path = [folder for folder in sys.path[1:] if not (Path(folder) / "updraft").is_dir()]
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _become(**json.loads(line))
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()


def _become(arguments: list[str], environ: dict[str, str], cwd: str, outputs: list[str]) -> None:
    """Turn into the command, for good."""
    for number, name in enumerate((os.devnull, *outputs)):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_NOCTTY
        os.dup2(os.open(name, flags), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = ["updraft", *arguments]
    sys.path[:0] = environ.get("PYTHONPATH", "").split(os.pathsep)
    code = 1
    try:
        from updraft.cli.main import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
