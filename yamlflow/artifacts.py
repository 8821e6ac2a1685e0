"""Files that steps keep: written whole or not at all, named by run, step, content and name, never overwritten.

A file lies at ``root/<run>/<step>/<start of its hash>/<name>``, so a late worker cannot change what another one has
committed, and no two names meet in one path. No symbolic link is ever followed below ``root`` or below a folder that
files are gathered from: every component is opened on its parent's descriptor.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

from .errors import Permanent
from .facts import named
from .outcome import Artifact, Json
from .private import FOLDER, make_folder, open_file

if TYPE_CHECKING:
    from .context import StepContext

CHUNK = 1024 * 1024
#: Bytes of one component of a path; longer ones are cut and end in a hash.
COMPONENT = 200
OCTETS = "application/octet-stream"
#: Levels of folders that are searched for files to keep.
DEEPEST = 40


class FileArtifacts:
    """Artifacts as files below one folder."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._root = Path(root).absolute()

    @property
    def root(self) -> Path:
        """The folder; made when the first artifact is kept."""
        return self._root

    def put(
        self,
        run: str,
        step: str,
        name: str,
        source: bytes | str | Path | IO[bytes],
        *,
        content_type: str | None = None,
        kind: str | None = None,
        metadata: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> Artifact:
        """Keep a file's content, durably; ``str`` is a path, streams are read to their end.

        Raises ``Permanent``: ``bad_result`` for a name that cannot be, a source that is no regular file or is a
        symbolic link, or more than ``limit`` bytes.
        """
        named(name, "an artifact")
        folder = self.root / component(run) / component(step)
        make_folder(folder)
        with _opened(source, name) as stream, Folder(folder) as place:
            size, digest, partial = place.receive(stream, name, limit)
            kept = f"{digest[:16]}/{component(name)}"
            place.settle(partial, kept)
        content_type = content_type or guess_type(name)
        return Artifact(
            name=name,
            uri=str(folder / kept),
            size=size,
            sha256=digest,
            content_type=content_type,
            kind=kind or default_kind(name, content_type),
            metadata={str(key): str(value) for key, value in (metadata or {}).items()},
        )

    def open(self, artifact: Artifact | Mapping[str, Json], *, verify: bool = True) -> IO[bytes]:
        """The bytes of an artifact, from their beginning; close the stream.

        Raises ``Permanent``: ``artifact_missing`` when there is no such file here, ``artifact_changed`` when its size
        or hash is not what was kept.
        """
        kept = artifact.to_json() if isinstance(artifact, Artifact) else artifact
        uri = str(kept.get("path") or kept.get("uri") or "")
        try:
            stream = os.fdopen(open_beneath(self.root, self._inside(uri)), "rb")
        except OSError as wrong:
            raise Permanent("artifact_missing", f"{uri or 'the artifact'} cannot be read: {wrong.strerror}") from None
        try:
            if verify:
                _verify(stream, kept, uri)
        except BaseException:
            stream.close()
            raise
        return stream

    def remove_run(self, run: str) -> None:
        """Remove everything of a run; nothing happens when there is nothing."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.root / component(run))

    def _inside(self, uri: str) -> str:
        """Run, step, hash and name: where the file lies below ``root``, also after the root was moved."""
        parts = PurePosixPath(uri).parts[-4:]
        if len(parts) != 4 or any(part in ("..", "/") for part in parts):
            raise Permanent("artifact_missing", f"{uri or 'an empty path'} is no artifact of this store")
        return "/".join(parts)


class TemporaryArtifacts(FileArtifacts):
    """Artifacts below a temporary folder that is made for the first one and goes with this object."""

    def __init__(self) -> None:
        super().__init__(os.devnull)
        self._made = False

    @property
    def root(self) -> Path:
        """The temporary folder."""
        if not self._made:
            self._made, self._root = True, temporary_folder(self)
        return self._root


def temporary_folder(owner: object) -> Path:
    """A new folder below the system's temporary one, removed when its owner is gone."""
    import tempfile
    import weakref

    folder = tempfile.mkdtemp(prefix="yamlflow-")
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


class Folder:
    """One folder held by its descriptor, so that nobody can put another one in its place meanwhile."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def receive(self, stream: IO[bytes], name: str, limit: int | None) -> tuple[int, str, str]:
        """Write a stream to a new file and sync it: size, SHA-256 and the file's present name."""
        partial = f".partial-{os.urandom(8).hex()}"
        fd = open_file(partial, os.O_WRONLY | os.O_EXCL, dir_fd=self._fd)
        try:
            size, digest = _copy(stream, fd, name, limit)
            os.fsync(fd)
        except BaseException:
            os.unlink(partial, dir_fd=self._fd)
            raise
        finally:
            os.close(fd)
        return size, digest, partial

    def settle(self, partial: str, kept: str) -> None:
        """Give a received file its lasting name, ``folder/file``, and sync both folders."""
        above, _, last = kept.partition("/")
        with contextlib.suppress(FileExistsError):
            os.mkdir(above, FOLDER, dir_fd=self._fd)
        inner = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=self._fd)
        try:
            os.rename(partial, last, src_dir_fd=self._fd, dst_dir_fd=inner)
            os.fsync(inner)
            os.fsync(self._fd)
        finally:
            os.close(inner)


def _copy(stream: IO[bytes], fd: int, name: str, limit: int | None) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    while chunk := stream.read(CHUNK):
        size += len(chunk)
        if limit is not None and size > limit:
            raise Permanent("bad_result", f'the artifact "{name}" has more than {limit:,} bytes')
        digest.update(chunk)
        view = memoryview(chunk)
        while view:
            view = view[os.write(fd, view) :]
    return size, digest.hexdigest()


def _verify(stream: IO[bytes], kept: Mapping[str, Json], uri: str) -> None:
    size = os.fstat(stream.fileno()).st_size
    if kept.get("size") is not None and size != kept["size"]:
        raise Permanent("artifact_changed", f"{uri} has {size:,} bytes; {kept['size']:,} were kept")
    if kept.get("sha256"):
        found = _digest(stream)
        if found != kept["sha256"]:
            raise Permanent("artifact_changed", f"{uri} is not what was kept: its SHA-256 is {found}")
        stream.seek(0)


def _digest(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def component(text: str, safe: str = "") -> str:
    """A name as one component of a path: percent-encoded, so no two names meet, and never ``.`` or ``..``.

    One too long for a file system is cut, with a digest in place of the rest.
    """
    encoded = quote(text, safe=safe, errors="surrogatepass")
    if not encoded.strip("."):
        encoded = encoded.replace(".", "%2E") or "%"
    if encoded.startswith("."):
        encoded = "%2E" + encoded[1:]
    if len(encoded) > COMPONENT:
        digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
        encoded = f"{encoded[: COMPONENT - 34]}={digest[:32]}"
    return encoded


def guess_type(name: str) -> str:
    """The MIME type that a file's name suggests; octets when it suggests none."""
    import mimetypes

    return mimetypes.guess_type(name)[0] or OCTETS


def default_kind(name: str, content_type: str) -> str:
    """The major MIME type, else the file's extension, else ``artifact``."""
    major = content_type.partition("/")[0].strip().lower()
    if major and content_type != OCTETS:
        return major
    return PurePosixPath(name).suffix.removeprefix(".").lower() or "artifact"


@contextlib.contextmanager
def _opened(source: bytes | str | Path | IO[bytes], name: str) -> Iterator[IO[bytes]]:
    if isinstance(source, bytes | bytearray | memoryview):
        yield io.BytesIO(source)
    elif isinstance(source, str | Path):
        with open_regular(Path(source), f'the artifact "{name}"') as stream:
            yield stream
    else:
        yield source


def open_regular(path: Path, what: str, *, code: str = "bad_result") -> IO[bytes]:
    """A regular file, its last component no symbolic link; ``Permanent`` with ``code`` for anything else."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        return _regular(fd)
    except (OSError, ValueError) as wrong:
        reason = getattr(wrong, "strerror", None) or str(wrong)
        raise Permanent(code, f"{what}: {path} cannot be read: {reason}") from None


def open_beneath(root: Path, relative: str) -> int:
    """A descriptor of the regular file at ``root/relative``; no component below root may be a link or lead out of it.

    Raises ``OSError``.
    """
    parts = PurePosixPath(relative).parts
    if not parts or any(part in ("..", "/") for part in parts):
        raise FileNotFoundError(2, "it leads out of its folder", relative)
    above = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
            os.close(above)
            above = below
        fd = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=above)
    finally:
        os.close(above)
    with _regular(fd) as stream:
        return os.dup(stream.fileno())


def _regular(fd: int) -> IO[bytes]:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(22, "it is no regular file")
    return os.fdopen(fd, "rb")


def files_beneath(root: Path) -> Iterator[str]:
    """The regular files below a folder, sorted, relative to it; links, pipes and devices are passed over."""
    for folder, folders, names in os.walk(root, followlinks=False):
        depth = len(Path(folder).relative_to(root).parts)
        folders[:] = sorted(folders) if depth < DEEPEST else []
        for name in sorted(names):
            path = os.path.join(folder, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                yield os.path.relpath(path, root)


def keep_folder(step: StepContext, folder: Path) -> None:
    """Keep every regular file below a folder, named by its path in it."""
    for relative in files_beneath(folder):
        with os.fdopen(open_beneath(folder, relative), "rb") as stream:
            step.store_artifact(relative, stream)


def keep_files(step: StepContext, *, strict: bool = True) -> None:
    """Keep what the step's ``artifacts`` name: a path under its name, a glob's files each under ``name/path``.

    With ``strict`` a path that is not there is a failure, ``bad_result``.
    """
    for name, pattern in step.keep.items():
        files = {f"{name}/{path}": path for path in matches(step.cwd, pattern)} if is_glob(pattern) else {name: pattern}
        for kept, path in files.items():
            try:
                _keep(step, kept, path)
            except Permanent:
                if strict:
                    raise


def is_glob(pattern: str) -> bool:
    """Whether a path names any number of files."""
    return any(character in pattern for character in "*?[")


def _keep(step: StepContext, name: str, path: str) -> None:
    """A relative path is opened below the step's folder, link by link; an absolute one is its author's affair."""
    if os.path.isabs(path):
        step.store_artifact(name, path)
        return
    try:
        stream = os.fdopen(open_beneath(step.cwd, path), "rb")
    except (OSError, ValueError) as wrong:
        reason = getattr(wrong, "strerror", None) or str(wrong)
        raise Permanent("bad_result", f'the artifact "{name}": {path} cannot be read: {reason}') from None
    with stream:
        step.store_artifact(name, stream, content_type=guess_type(path))


def matches(root: Path, pattern: str) -> Iterator[str]:
    """The regular files below ``root`` that a glob names (``*`` within a folder, ``**`` over folders), sorted."""
    wanted = PurePosixPath(pattern).parts
    if pattern.startswith("/") or ".." in wanted:
        raise Permanent("bad_input", f"the glob {pattern} leads out of its folder")
    return (path for path in files_beneath(root) if fits(PurePosixPath(path).parts, wanted))


def fits(parts: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    """Whether the components of a path fit those of a glob; a wildcard never takes a leading dot."""
    reached = {0}
    for part in parts:
        ahead: set[int] = set()
        for at in _past_stars(reached, wanted):
            if at < len(wanted):
                if wanted[at] == "**" and part[0] != ".":
                    ahead.add(at)
                elif fnmatchcase(part, wanted[at]) and (part[0] != "." or wanted[at][0] == "."):
                    ahead.add(at + 1)
        reached = ahead
    return len(wanted) in _past_stars(reached, wanted)


def _past_stars(reached: set[int], wanted: tuple[str, ...]) -> set[int]:
    for at in sorted(reached):
        while at < len(wanted) and wanted[at] == "**":
            at += 1
            reached = reached | {at}
    return reached
