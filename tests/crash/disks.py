"""Small disks of one's own: folders that can be filled, made larger and made read-only, in a mount namespace.

A test calls ``in_namespace``; that runs a function of a module in a process that sees the mounts, and nobody else does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..conftest import ROOT


def in_namespace(module: str, scene: str, folder: Path) -> None:
    """Play a scene of a module (``module.SCENES[scene](folder)``) where mounts can be made; its failure is the test's."""
    command = ["unshare", "--mount"] if os.getuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    probe = [*command, "mount", "-t", "tmpfs", "none", str(folder)]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True).returncode:
        words = "no mount namespaces here (unshare, mount)"
        pytest.fail(words) if os.environ.get("CI") == "true" else pytest.skip(words)
    played = subprocess.run(
        [*command, sys.executable, "-m", module, scene, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert played.returncode == 0, played.stdout + played.stderr


def mount_small(folder: Path, size: str) -> None:
    """A disk of a size on a folder."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=True)


def make_larger(folder: Path, size: str) -> None:
    """The same disk with more room."""
    subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)


def fill(folder: Path, *, leave: int = 0) -> None:
    """Leave so many bytes of a disk free."""
    with (folder / "filler").open("ab") as stream:
        while True:
            free = os.statvfs(folder)
            room = free.f_bavail * free.f_frsize - leave
            if room <= 0:
                return
            try:
                stream.write(bytes(min(room, 1 << 20)))
                stream.flush()
            except OSError:
                return


def make_read_only(folder: Path) -> None:
    """Nothing on a folder's disk can be written any more."""
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
