"""The errors a user can meet. Each says what was asked, what was found and what to do, and names file, row and time."""

import os


class PlayheadError(Exception):
    """Something outside the program is not as it must be; the message is one line and says what to do.

    `path`, `row` (counted from 1, the header included, as an editor counts lines) and `time` (seconds) say where;
    those given lead the message.
    """

    def __init__(
        self,
        problem: str,
        *,
        path: str | os.PathLike[str] | None = None,
        row: int | None = None,
        time: float | None = None,
    ):
        self.problem, self.row, self.time = problem, row, time
        self.path = None if path is None else os.fspath(path)
        where = [self.path] if self.path is not None else []
        where += [f"row {row}"] if row is not None else []
        where += [f"at {time:.2f} s"] if time is not None else []
        super().__init__(f"{', '.join(where)}: {problem}" if where else problem)

    def __reduce__(self):
        # Workers send their errors to the main process by pickle, which would otherwise call __init__ with the message.
        return _rebuild, (type(self), self.problem, self.path, self.row, self.time)


def _rebuild(kind: type[PlayheadError], problem: str, path: str | None, row: int | None, time: float | None):
    return kind(problem, path=path, row=row, time=time)


class RunStoppedError(BaseException):
    """A run was asked to end (SIGTERM) and has saved; no failure, so no `except Exception` may take it for one."""


class DecodeError(PlayheadError):
    """A video, or a folder of frames, does not give the frames asked for."""


class AnnotationError(PlayheadError):
    """An annotation, taxonomy or manifest file does not hold what its layout says."""


class WeightsError(PlayheadError):
    """A checkpoint or bundle does not fit the model, or cannot be read safely."""


class RecipeError(PlayheadError):
    """The settings of a run contradict each other or its data."""


class TrainingError(PlayheadError):
    """A run cannot go on: its loss is not finite, a worker died, or its last checkpoint does not fit."""


class SearchError(PlayheadError):
    """A search index does not exist, is broken, or belongs to another model."""
