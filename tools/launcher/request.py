"""What a launch is: the resources of a job (Request), and a launch that was decided (Launch)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pretrain.runtime.repository import REPOSITORY

IMAGE = "container-image"  # the option of a scheduler that starts ranks in containers by itself


@dataclass(frozen=True)
class Request:
    """Resources of one job. tasks and gpus count per node, cpus per task. gpu_kind: as the cluster calls them.

    retries: starts after a crash. signal_delay: seconds between the scheduler's warning and the end of the time limit.
    options: the scheduler's own (`About.options`), by name. extra: those that were given as KEY=VALUE, True without
    a value; starter: the same for what starts the ranks. setup: lines of bash before the ranks. python: interpreter of
    the tool; empty is the launcher's own, in a container its python3. apptainer: image that the tool runs in.
    mounts: SRC:DST[:MODE] of a container.
    """

    name: str
    nodes: int = 1
    tasks: int = 1
    gpus: int = 0
    gpu_kind: str = ""
    cpus: int = 1
    minutes: int = 60
    retries: int = 3
    signal_delay: int = 120
    options: dict[str, str | int] = field(default_factory=dict)
    extra: dict[str, str | bool] = field(default_factory=dict)
    starter: dict[str, str | bool] = field(default_factory=dict)
    setup: list[str] = field(default_factory=list)
    python: str = ""
    apptainer: str = ""
    mounts: list[str] = field(default_factory=list)

    @property
    def contained(self) -> bool:
        """Whether the tool runs in a container."""
        return bool(self.apptainer or self.options.get(IMAGE))

    @property
    def ranks(self) -> int:
        """Processes of the job on all its nodes."""
        return self.nodes * self.tasks


@dataclass(frozen=True)
class Launch:
    """A launch, decided: what runs, in which folder, with what, and where it is written.

    cluster: name of the scheduler. commands: one for each job. shown: for pretraining, the resolved configuration of
    each. code: the folder of the packages that it runs. given: texts of the configurations in it that are not the
    repository's, by their path there. settings: a hash of what was asked for (both: snapshot.py).
    """

    cluster: str
    tool: str
    commands: tuple[tuple[str, ...], ...]
    folder: str
    request: Request
    run_dir: Path
    environment: dict[str, str]
    shown: tuple[str, ...] = ()
    code: Path = REPOSITORY
    given: dict[str, str] = field(default_factory=dict)
    settings: str = ""

    @property
    def logs(self) -> Path:
        """The folder of what the ranks print, and of how they ended."""
        return self.run_dir / "jobs"
