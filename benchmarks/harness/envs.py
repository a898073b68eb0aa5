"""One virtual environment per peer, made on demand and kept while its requirements are unchanged.

The peers do not share an environment well (each pins its own numerical stack), and a peer must not
be slowed or sped up by what another one pulled in.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent.parent
REPOSITORY = BENCHMARKS.parent
PEERS = BENCHMARKS / "peers"
ENVS = BENCHMARKS / ".envs"

# A setting in the caller's shell (a compilation cache, a thread count, a platform) would reach some
# peers and not others, so no child inherits one.
_SCRUBBED = (
    "JAX_",
    "XLA_",
    "TF_",
    "PYTENSOR",
    "NUMBA_",
    "NUMPYRO_",
    "POSTERITY_",
    "PYTHON",
    "OMP_",
)

_LIST_PACKAGES = """
import importlib.metadata as m, json
print(json.dumps({d.metadata["Name"].lower(): d.version for d in m.distributions()}))
"""


class EnvironmentFailed(RuntimeError):
    """A peer's environment could not be made."""


def clean_environ() -> dict[str, str]:
    """The caller's environment variables without those that configure one of the peers."""
    return {k: v for k, v in os.environ.items() if not k.startswith(_SCRUBBED)}


def python_of(peer: str) -> Path:
    """The interpreter of a peer's environment."""
    return ENVS / peer / "bin" / "python"


def ensure(peer: str) -> None:
    """Make the environment of `peer`, unless one with the same requirements is there already."""
    stamp = ENVS / peer / "requirements.sha256"
    wanted = _fingerprint(peer)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"[{peer}] making its environment", flush=True)
    shutil.rmtree(ENVS / peer, ignore_errors=True)
    _check([sys.executable, "-m", "venv", str(ENVS / peer)], peer)
    # Compile everything to bytecode now: otherwise the first measured import would pay for it.
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--compile"]
    # pip resolves `-e .` against the working folder, hence the repository root below.
    _check([str(python_of(peer)), *install, "-r", str(_requirements(peer))], peer)
    stamp.write_text(wanted)


def packages(peer: str) -> dict[str, str]:
    """Every installed distribution of a peer's environment and its version."""
    listing = subprocess.run(
        [str(python_of(peer)), "-c", _LIST_PACKAGES],
        capture_output=True,
        text=True,
        check=True,
        env=clean_environ(),
    )
    return dict(sorted(json.loads(listing.stdout).items()))


def _requirements(peer: str) -> Path:
    return PEERS / peer / "requirements.txt"


def _fingerprint(peer: str) -> str:
    """A hash of everything that decides what pip would install."""
    requirements = _requirements(peer).read_text()
    parts = [sys.version, requirements]
    if "-e ." in requirements:  # our own dependencies are written in the project file
        project = REPOSITORY / "pyproject.toml"
        parts.append(project.read_text() if project.exists() else "")
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _check(command: list[str], peer: str) -> None:
    done = subprocess.run(
        command, cwd=REPOSITORY, env=clean_environ(), capture_output=True, text=True
    )
    if done.returncode:
        raise EnvironmentFailed(
            f"{peer}: {' '.join(command[1:4])} failed\n{done.stderr.strip()[-3000:]}"
        )
