"""Programs as a container's uid that no passwd file names, and with next to nothing in the environment."""

import shutil
import subprocess

import pytest

UID = 54321


def unnamed_user() -> list[str]:
    """Return the words before a command that make its uid one without a name.

    A user namespace hides the name of whoever runs the tests and keeps his rights to their files.
    """
    prefix = ["unshare", "--user", f"--map-user={UID}"]
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], check=False).returncode:
        pytest.skip("no user namespaces here: a uid without a name cannot be had")
    return prefix
