"""An archive is believed only as far as a trusted key has signed it, whatever a stranger makes of it."""

from __future__ import annotations

import io
import json
import secrets
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.archives import objects, read_archive, taken_back, write_archive
from tests.support.key_pairs import write_key_pair
from tests.support.versions import NAME
from updraft.registry.archive.contents import INDEX
from updraft.registry.registry import Registry, open_registry
from updraft.registry.s3 import BadRegistry, VerificationError
from updraft.registry.signing_keys import key_id

MODEL = f"{NAME}/versions/0001/model.joblib"
Members = list[tuple[tarfile.TarInfo, bytes]]


def members(file: Path) -> Members:
    with tarfile.open(file) as tar:
        return [(info, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]


def rewrite(file: Path, change: Callable[[Members], Members]) -> None:
    found = change(members(file))
    with tarfile.open(file, "w", format=tarfile.GNU_FORMAT) as tar:
        for info, body in found:
            info.size = len(body) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(body))


def at(found: Members, name: str) -> int:
    return next(number for number, (info, _) in enumerate(found) if info.name == name)


def renamed(found: Members, name: str, new: str) -> Members:
    found[at(found, name)][0].name = new
    return found


def typed(found: Members, kind: bytes) -> Members:
    info = found[at(found, MODEL)][0]
    info.type, info.linkname = kind, "/etc/passwd"
    return found


def replaced(found: Members, name: str, change: Callable[[bytes], bytes]) -> Members:
    number = at(found, name)
    found[number] = (found[number][0], change(found[number][1]))
    return found


def unheld(found: Members) -> Members:
    """What takes a hold back: the move before is the last one, by its own signature."""
    found.pop(at(found, f"{NAME}/history/000003.json"))
    older = found[at(found, f"{NAME}/history/000002.json")][1]
    return replaced(found, f"{NAME}/pointer.json", lambda _: older)


HOSTILE: dict[str, tuple[Callable[[Members], Members], str]] = {
    "a path that leads out": (lambda found: renamed(found, MODEL, "../../etc/passwd"), r"'\.\./\.\./etc/passwd'"),
    "an absolute path": (lambda found: renamed(found, MODEL, "/etc/passwd"), "'/etc/passwd' does not belong here"),
    "a symbolic link": (lambda found: typed(found, tarfile.SYMTYPE), f"'{MODEL}' is no regular file"),
    "a hard link": (lambda found: typed(found, tarfile.LNKTYPE), f"'{MODEL}' is no regular file"),
    "a device": (lambda found: typed(found, tarfile.CHRTYPE), f"'{MODEL}' is no regular file"),
    "a name of a header of its own": (lambda found: renamed(found, MODEL, "x" * 300), "is no regular file"),
    "a member twice": (lambda found: [*found[:5], found[4], *found[5:]], "does not belong here; expected"),
    "a stranger's member": (
        lambda found: [*found, (tarfile.TarInfo("more"), b"more")],
        "'more' does not belong here; expected the end",
    ),
    "a missing member": (lambda found: [*found[:4], *found[5:]], "does not belong here; expected"),
    "a missing end": (lambda found: found[:-1], f"ends before '{NAME}/pointer.json'"),
    "another byte": (
        lambda found: replaced(found, MODEL, lambda body: b"X" + body[1:]),
        f"member '{MODEL}' was changed: its sha256 differs",
    ),
    "more bytes": (lambda found: replaced(found, MODEL, lambda body: body + b"X"), rf"'{MODEL}' has 7,\d+ bytes"),
    "a changed index": (
        lambda found: replaced(found, INDEX, lambda body: body.replace(NAME.encode(), b"another_name_x")),
        f"member '{INDEX}' was altered",
    ),
    "a changed section": (
        lambda found: replaced(found, f"{NAME}/section.json", lambda body: body.replace(b"0001", b"0009")),
        f"member '{NAME}/section.json' was altered",
    ),
    "a hold that was taken out": (unheld, "does not belong here; expected"),
    "no index": (lambda found: found[1:], f"'{NAME}/section.json' does not belong here; expected '{INDEX}'"),
    "nothing": (lambda found: [], f"ends before '{INDEX}'"),
}


@pytest.fixture(scope="module")
def held_content(s3: dict[str, str], key_files: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of an archive of two versions, of which the second was taken back."""
    uri, folder = f"s3://updraft-tests/{secrets.token_hex(6)}", tmp_path_factory.mktemp("held")
    registry = open_registry({**s3, **key_files, "UPDRAFT_REGISTRY": uri})
    taken_back(registry, folder)
    return write_archive(registry, folder / "models.tar").read_bytes()


@pytest.fixture
def held_archive(held_content: bytes, tmp_path: Path) -> Path:
    """A file with that archive, to be changed."""
    (tmp_path / "models.tar").write_bytes(held_content)
    return tmp_path / "models.tar"


@pytest.mark.parametrize("change", HOSTILE)
def test_a_hostile_archive_is_refused_in_a_line_that_names_the_member(
    change: str, held_archive: Path, other: Registry
) -> None:
    rewrite(held_archive, HOSTILE[change][0])
    with pytest.raises(VerificationError, match=HOSTILE[change][1]) as refused:
        read_archive(other, held_archive)
    assert str(refused.value).startswith(str(held_archive)) and "\n" not in str(refused.value)
    assert not objects(other)


def test_a_section_of_another_archive_is_refused(registry: Registry, other: Registry, tmp_path: Path) -> None:
    """An older one, say, before something was taken back."""
    taken_back(registry, tmp_path)
    older = members(write_archive(registry, tmp_path / "older.tar"))
    registry.promote(NAME, 2, expect=1, who="ann", why="it was good", force=True)
    newer = write_archive(registry, tmp_path / "newer.tar")
    rewrite(newer, lambda found: [found[0], *older[1:]])
    with pytest.raises(VerificationError, match=r"section\.json' is a copy .* of another archive"):
        read_archive(other, newer)


def test_an_archive_that_is_cut_off_anywhere_is_refused(held_archive: Path, other: Registry) -> None:
    whole = held_archive.read_bytes()
    ends = {0, 1, 511, 512, 600, len(whole) // 3, len(whole) // 2, len(whole) - 1025, len(whole) - 1500}
    for end in sorted(ends):
        held_archive.write_bytes(whole[:end])
        with pytest.raises(VerificationError, match=r"models\.tar: "):
            read_archive(other, held_archive)
    for more in (b"\0" * 512 + b"x", b"x"):
        held_archive.write_bytes(whole + more)
        with pytest.raises(VerificationError, match="goes on after its end"):
            read_archive(other, held_archive)
    held_archive.write_bytes(b"no tar at all" * 100)
    with pytest.raises(VerificationError, match="is no archive"):
        read_archive(other, held_archive)
    assert not objects(other)


def test_a_size_that_is_a_lie_reads_nothing_into_memory(held_archive: Path, other: Registry) -> None:
    for size in (1 << 50, 8**11 - 1):
        info = tarfile.TarInfo(INDEX)
        info.size = size
        held_archive.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + b"{}" * 300)
        with pytest.raises(VerificationError, match=rf"'{INDEX}' has [\d,]+ bytes, more than"):
            read_archive(other, held_archive)


def test_an_unknown_key_is_named_with_how_to_trust_it(
    held_archive: Path, registry: Registry, other_environ: dict[str, str], tmp_path: Path
) -> None:
    theirs = key_id(registry.keys.verifying[0])
    (tmp_path / "own").mkdir()
    own = write_key_pair(tmp_path / "own")
    stranger = open_registry(other_environ | own)
    with pytest.raises(VerificationError, match=rf"the key {theirs}, .*UPDRAFT_VERIFY_KEY=own\.pem:theirs\.pem"):
        read_archive(stranger, held_archive)
    both = {"UPDRAFT_VERIFY_KEY": f"{own['UPDRAFT_VERIFY_KEY']}:{other_environ['UPDRAFT_VERIFY_KEY']}"}
    (moved,) = read_archive(open_registry(other_environ | own | both), held_archive)
    assert moved.created == [1, 2]
    forged = json.loads(members(held_archive)[0][1]) | {"key_id": stranger.keys.ids()[0]}
    rewrite(held_archive, lambda found: replaced(found, INDEX, lambda _: json.dumps(forged).encode()))
    with pytest.raises(VerificationError, match="was altered or signed with another key"):
        read_archive(stranger, held_archive)


def test_who_may_not_sign_neither_exports_nor_imports(
    held_archive: Path, other_environ: dict[str, str], registry_environ: dict[str, str], tmp_path: Path
) -> None:
    for environ in (registry_environ, other_environ):
        reader = open_registry(environ | {"UPDRAFT_SIGNING_KEY": ""})
        with pytest.raises(BadRegistry, match="UPDRAFT_SIGNING_KEY"):
            write_archive(reader, tmp_path / "more.tar")
        with pytest.raises(BadRegistry, match="UPDRAFT_SIGNING_KEY"):
            read_archive(reader, held_archive)
    assert not (tmp_path / "more.tar").exists()
