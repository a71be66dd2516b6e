"""Jobs done on the machines of a Ray cluster: what `processes` does on this one.

The driver is this process: it alone hands out jobs, hears of their results and writes. So a job whose worker dies can
be done again, and one that was given up but still goes on somewhere changes nothing.
"""

import importlib
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Annotated, Any

import tyro

from playhead import __version__
from playhead.apps.processes import Done, Failed, attempt
from playhead.errors import PlayheadError, RecipeError

BEAT_EVERY = 2.0
"""Seconds between two signs of life of a job; one actor hears those of all."""

_POLL = 1.0  # seconds between two looks at who stalls
_PATIENCE = 10.0  # seconds that the head of a cluster has to answer
_AHEAD = 2  # jobs handed out for each that can run, so that no worker waits for the driver


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """Which Ray cluster, and what each video gets of it."""

    address: Annotated[str, tyro.conf.arg(name="ray", metavar="[ADDRESS]")] = "auto"
    """Where the cluster is: HOST:PORT, or "auto" (also --ray alone) for the one that this machine belongs to, or
    "local" for a Ray of this machine that ends with the command."""
    cpus: float = 1.0
    """Cores that Ray reserves for each video; also the threads that the model computes with."""
    gpus: float = 0.0
    """GPUs for each video, 0.5 for two videos on one; 0 computes on the CPU."""
    attempts: int = 3
    """How often a video is begun whose worker dies."""
    stall_seconds: float = 300.0
    """A video in which nothing goes on for so long is given up."""

    def __post_init__(self):
        for name, holds, wanted in (
            ("cpus", self.cpus > 0, "to be above 0"),
            ("gpus", self.gpus >= 0, "not to be negative"),
            ("attempts", self.attempts >= 1, "at least 1"),
            ("stall-seconds", self.stall_seconds > 0, "to be above 0"),
        ):
            if not holds:
                raise RecipeError(f"--{name} needs {wanted}, got {getattr(self, name.replace('-', '_'))}.")


@contextmanager
def joined(settings: ClusterSettings) -> Iterator[str]:
    """Be a driver of the cluster for the length of a with-block; yields what it consists of, in words.

    A connection that there is already is used, and kept.

    Raises:
        PlayheadError: Ray is not installed, the cluster is not there, or is of another version of Ray or Python, or no
            machine of it has what one video is to get.
    """
    ray = _ray()
    own = not ray.is_initialized()
    if own:
        _connect(ray, settings.address)
    try:
        if not _slots(ray, settings):
            raise PlayheadError(
                f"each video is to get {settings.cpus:g} cores and {settings.gpus:g} GPUs, but no machine of the "
                f"cluster has them ({_inventory(ray)}). Lower --cpus or --gpus, or add machines first."
            )
        yield _inventory(ray)
    finally:
        if own:
            ray.shutdown()


def run_on_cluster(
    work: Callable[[Any, Callable[[float], None]], Any],
    jobs: Sequence[Any],
    progress: Callable[[Any, float], None] = lambda job, share: None,
    *,
    settings: ClusterSettings,
) -> Generator[Done[Any, Any] | Failed[Any], None, None]:
    """Yield every job once, as soon as it is done or has failed; needs `joined`.

    `work` is sent once to each worker process that needs it. A job whose worker dies is begun again, up to
    `settings.attempts` times; one that calls nothing for `settings.stall_seconds` is given up. Whoever stops listening
    stops all jobs.

    Raises:
        PlayheadError: a worker cannot take up jobs: it has no playhead, or another version of it.
    """
    driver = _Driver(work, settings)
    waiting, busy = deque(_Task(number, job) for number, job in enumerate(jobs)), dict[Any, _Task]()
    try:
        while waiting or busy:
            while waiting and len(busy) < driver.room():
                task = waiting.popleft()
                busy[driver.start(task)] = task
            for reference in driver.ready(busy):
                task = busy.pop(reference)
                outcome = driver.outcome(reference, task)
                if outcome is None:
                    waiting.append(task)
                    progress(task.job, 0.0)
                else:
                    yield outcome
            driver.listen(busy.values(), progress)
            for reference in [one for one, task in busy.items() if driver.is_stalled(task)]:
                driver.cancel(reference)
                yield Failed(
                    busy.pop(reference).job, f"nothing went on for {settings.stall_seconds:g} s, so it was given up."
                )
    finally:
        driver.end(busy)


@dataclass(slots=True)
class _Task:
    """A job, how often it was begun, and when it was last heard of."""

    number: int
    job: Any
    begun: int = 0
    seen: float | None = None  # None: it waits for a worker

    @property
    def key(self) -> tuple[int, int]:
        return self.number, self.begun


@dataclass(slots=True)
class _Driver:
    """What the loop asks of Ray."""

    work: Callable[..., Any]
    settings: ClusterSettings
    ray: Any = field(default_factory=lambda: _ray())
    shipped: Any = field(init=False)
    board: Any = field(init=False)
    do: Any = field(init=False)

    def __post_init__(self):
        settings, ray = self.settings, self.ray
        self.shipped = [ray.put(self.work)]  # in a list, or Ray would unpack it anew for every job
        here = ray.get_runtime_context().get_node_id()
        beside = importlib.import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy
        actor = ray.remote(num_cpus=0, max_restarts=-1, scheduling_strategy=beside(here, soft=True))
        self.board = actor(_Board).remote()
        # max_calls=0: a worker keeps the model for its next video, also where it has a GPU.
        task = ray.remote(num_cpus=settings.cpus, num_gpus=settings.gpus, max_retries=0, max_calls=0)
        self.do = task(_do)

    def room(self) -> int:
        """Return how many jobs may be handed out; machines come and go."""
        return max(1, _AHEAD * _slots(self.ray, self.settings))

    def start(self, task: _Task) -> Any:
        task.begun, task.seen = task.begun + 1, None
        has_gpu = self.settings.gpus > 0
        return self.do.remote(self.shipped, self.board, task.key, task.job, __version__, has_gpu)

    def ready(self, busy: dict[Any, _Task]) -> list[Any]:
        """Return the jobs that are over, as soon as there is one, or none after a while."""
        self.ray.wait(list(busy), num_returns=1, timeout=_POLL)
        return self.ray.wait(list(busy), num_returns=len(busy), timeout=0)[0]

    def outcome(self, reference: Any, task: _Task) -> Done | Failed | None:
        """Return what became of a job; None if its worker died and it is to be begun again."""
        errors = self.ray.exceptions
        try:
            return self.ray.get(reference)
        except errors.RayTaskError as error:
            cause = " ".join(str(error.cause or error).split())
            raise PlayheadError(
                f"a worker cannot take up a job ({cause[:300]}). Every machine of the cluster needs playhead "
                f"{__version__}, in the same version of Python."
            ) from error
        except errors.RayError as error:
            if task.begun < self.settings.attempts:
                return None
            return Failed(task.job, f"the worker that worked at it died {task.begun} times ({type(error).__name__}).")

    def listen(self, tasks: Iterable[_Task], progress: Callable[[Any, float], None]) -> None:
        """Take in the signs of life since the last time."""
        try:
            shares = self.ray.get(self.board.take.remote())
        except self.ray.exceptions.RayActorError:  # its machine is gone; it begins anew elsewhere
            for task in tasks:
                task.seen = None
            return
        except self.ray.exceptions.RayError as error:
            problem = "the connection to the Ray cluster broke; run again, what is finished stays."
            raise PlayheadError(problem) from error
        for task in tasks:
            if task.key in shares:
                task.seen = time.monotonic()
                progress(task.job, shares[task.key])

    def is_stalled(self, task: _Task) -> bool:
        return task.seen is not None and time.monotonic() - task.seen > self.settings.stall_seconds

    def cancel(self, reference: Any) -> None:
        with suppress(self.ray.exceptions.RayError):
            self.ray.cancel(reference, force=True)

    def end(self, busy: dict[Any, _Task]) -> None:
        for reference in busy:
            self.cancel(reference)
        with suppress(self.ray.exceptions.RayError):
            self.ray.kill(self.board)


class _Board:
    """An actor where jobs write how far they are."""

    def __init__(self):
        self._shares: dict[tuple[int, int], float] = {}

    def tell(self, key: tuple[int, int], share: float) -> None:
        self._shares[key] = share

    def take(self) -> dict[tuple[int, int], float]:
        """Return what was told since the last time."""
        taken, self._shares = self._shares, {}
        return taken


class _Beat:
    """Tells the board the share of a job that is done, now and then."""

    def __init__(self, board: Any, key: tuple[int, int]):
        self._board, self._key, self._due = board, key, 0.0

    def __call__(self, share: float) -> None:
        if (now := time.monotonic()) >= self._due:
            self._due = now + BEAT_EVERY
            self._board.tell.remote(self._key, share)


def _do(
    shipped: list[Any], board: Any, key: tuple[int, int], job: Any, version: str, has_gpu: bool
) -> Done[Any, Any] | Failed[Any]:
    """Do one job, in a worker."""
    if version != __version__:
        raise RuntimeError(f"this machine has playhead {__version__}, the driver {version}")
    if not has_gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # not every version of Ray hides GPUs that were not asked for
    work, beat = _unpacked(shipped[0]), _Beat(board, key)
    beat(0.0)
    return attempt(work, job, beat)


_last_work: dict[Any, Any] = {}  # of a worker: what it was sent last


def _unpacked(reference: Any) -> Any:
    if reference not in _last_work:
        _last_work.clear()
        _last_work[reference] = _ray().get(reference)
    return _last_work[reference]


def _ray() -> Any:
    """Return the module; whatever does not use it works without."""
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise PlayheadError("Ray is not installed here; install playhead[ray], on every machine.") from error


def _connect(ray: Any, address: str) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # what a Ray that is started here would report
    local = {"include_dashboard": False} if address == "local" else {}
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if host and port.isdecimal():  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
        ray.init(address, log_to_driver=False, logging_level="warning", **local)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        told = " ".join(str(error).split())
        raise PlayheadError(
            f"no Ray cluster answers at {address!r} ({told[:300]}). Start one with `ray start --head`, or take --ray "
            "local for this machine alone."
        ) from error


def _slots(ray: Any, settings: ClusterSettings) -> int:
    """Return how many videos the machines have room for at once."""
    slots = 0
    for node in ray.nodes():
        if node["Alive"]:
            has = node["Resources"]
            by_gpu = has.get("GPU", 0.0) / settings.gpus if settings.gpus else float("inf")
            slots += int(min(has.get("CPU", 0.0) / settings.cpus, by_gpu))
    return slots


def _inventory(ray: Any) -> str:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores, gpus = (sum(has.get(kind, 0.0) for has in nodes) for kind in ("CPU", "GPU"))
    return f"Ray: {len(nodes)} machine{'s' * (len(nodes) != 1)}, {cores:g} cores, {gpus:g} GPUs"
