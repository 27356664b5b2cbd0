"""A Slurm of one node for tests: munged, slurmctld and slurmd on the loopback address.

Needs Debian's packages slurm-wlm and munge, and root, since Slurm's commands inside a job look for
their configuration at /etc/slurm/slurm.conf and nowhere else. A configuration that isn't ours is
never touched. Daemons are children of the test's process and are ended by it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

CONFIGURATION = Path("/etc/slurm/slurm.conf")
OURS = "# A one-node Slurm for tests; made anew by each of them.\n"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
START_LIMIT = 90.0
STOP_LIMIT = 20.0
COMMAND_LIMIT = 30.0
"""Seconds: until the node is idle, until a daemon has ended, for one command of Slurm."""
PARTITION = "debug"
Found = TypeVar("Found")


def missing() -> str:
    """Why no Slurm can be started here; "" if one can."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"{absent[0]} is missing (Debian: apt-get install slurm-wlm munge)"
    if os.geteuid():
        return "a Slurm for tests needs root"
    if CONFIGURATION.exists() and not CONFIGURATION.read_text(encoding="utf-8").startswith(OURS):
        return f"{CONFIGURATION} belongs to somebody else"
    return ""


@contextmanager
def running_slurm(folder: Path) -> Iterator[Path]:
    """Starts the daemons, waits until the node is idle, ends them; yields the folder of logs."""
    folder.mkdir(parents=True, exist_ok=True)
    socket, key = folder / "munge.socket", folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    write_configuration(folder, socket)
    munged = [
        "munged", "--foreground", "--force", f"--socket={socket}", f"--key-file={key}",
        f"--pid-file={folder / 'munged.pid'}", f"--seed-file={folder / 'munged.seed'}",
        f"--log-file={folder / 'munged.log'}",
    ]  # fmt: skip
    with ExitStack() as stack:
        stack.callback(CONFIGURATION.unlink, missing_ok=True)
        stack.enter_context(_daemon(munged, folder))
        wait_for(socket.exists, START_LIMIT, "munged makes its socket")
        stack.enter_context(_daemon(["slurmctld", "-D", "-c"], folder))
        stack.enter_context(_daemon(["slurmd", "-D", "-N", "localhost"], folder))
        wait_for(lambda: "idle" in ask("sinfo", "-h", "-o", "%T"), START_LIMIT, "the node is idle")
        try:
            yield folder
        finally:
            ask("scancel", "--state=PENDING", "--user=root")
            ask("scancel", "--signal=KILL", "--user=root")
            ask("scancel", "--user=root")


def write_configuration(folder: Path, socket: Path) -> None:
    """One node with this machine's processors and most of its memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    settings = {
        "ClusterName": "rlqkit", "SlurmctldHost": "localhost(127.0.0.1)",
        "SlurmUser": "root", "SlurmdUser": "root",
        "AuthType": "auth/munge", "AuthInfo": f"socket={socket}",
        "SlurmctldPort": "26817", "SlurmdPort": "26818",
        "StateSaveLocation": folder / "state", "SlurmdSpoolDir": folder / "spool",
        "SlurmctldPidFile": folder / "slurmctld.pid", "SlurmdPidFile": folder / "slurmd.pid",
        "SlurmctldLogFile": folder / "slurmctld.log", "SlurmdLogFile": folder / "slurmd.log",
        "ProctrackType": "proctrack/linuxproc", "TaskPlugin": "task/none",
        "JobAcctGatherType": "jobacct_gather/none",
        "AccountingStorageType": "accounting_storage/none",
        "SelectType": "select/cons_tres", "SelectTypeParameters": "CR_Core_Memory",
        "KillWait": "5", "ReturnToService": "2", "MinJobAge": "86400",
    }  # fmt: skip
    for name in ("state", "spool"):
        (folder / name).mkdir(exist_ok=True)
    node = (
        f"NodeName=localhost NodeAddr=127.0.0.1 CPUs={os.cpu_count()} "
        f"RealMemory={int(0.8 * memory)} State=UNKNOWN\n"
    )
    partition = f"PartitionName={PARTITION} Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n"
    lines = "".join(f"{name}={value}\n" for name, value in settings.items())
    CONFIGURATION.parent.mkdir(exist_ok=True)
    CONFIGURATION.write_text(OURS + lines + node + partition, encoding="utf-8")


def jobs() -> list[dict[str, str]]:
    """Jobs that Slurm knows, ended ones for some minutes too: id, state, what it is for."""
    table = ask("squeue", "-h", "-t", "all", "-o", "%i|%T|%k", "--sort=i")
    names = ("id", "state", "comment")
    return [dict(zip(names, line.split("|"), strict=True)) for line in table.splitlines()]


def ask(*command: str) -> str:
    """What a command of Slurm prints; "" if it fails, as all do before the daemons are up."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_LIMIT)
    return done.stdout if done.returncode == 0 else ""


def wait_for(found: Callable[[], Found], limit: float, what: str, pause: float = 0.2) -> Found:
    """What `found` returns as soon as that is true; an AssertionError after `limit` seconds."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(pause)
    raise AssertionError(f"waited {limit:g} s in vain until {what}")


@contextmanager
def _daemon(command: list[str], folder: Path) -> Iterator[None]:
    output = folder / f"{command[0]}.out"
    with open(output, "wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, cwd=folder)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
