"""What an update of the index has to do: the files of a scan against the rows of the table, as a pure comparison."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from playhead.apps.library import Scan, VideoFile
from playhead.apps.store import VideoRow


@dataclass(slots=True)
class Changes:
    """Rows to write, rows to remove, files to encode; and the report, to which encoded files are added."""

    put: list[VideoRow] = field(default_factory=list)
    """Rows whose windows are there already: touched, moved and copied files."""
    remove: list[str] = field(default_factory=list)
    """Paths of rows whose file is gone."""
    encode: dict[str, list[VideoFile]] = field(default_factory=dict)
    """Files to encode by content; the first is read, the others are copies of it."""
    failed: list[tuple[str, str]] = field(default_factory=list)
    """Paths that will not be tried, with the reason: unreadable now, or known as broken and unchanged."""
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    known_paths: frozenset[str] = frozenset()

    def count(self, path: str):
        """Report a file that has come into the index, or whose new content has."""
        (self.changed if path in self.known_paths else self.added).append(path)


def find_changes(
    scan: Scan, rows: Iterable[VideoRow], content_id: Callable[[str], str], *, retry_failed: bool = False
) -> Changes:
    """Compare what lies on disk with what the index knows; only new and touched files are read, for their id.

    A file is known by path, size and time of change. Otherwise its content decides: known content whose old place is
    empty has moved; known content whose old place still exists is a copy, and shares its windows; other content is
    to be encoded, "changed" where the path is known and "added" where not. Broken files count as known content unless
    `retry_failed`. Rows of files that the scan would have found and did not are removed.
    """
    rows = list(rows)
    by_path = {row.path: row for row in rows}
    settled = {row.video_id: row for row in rows if row.status == "done" or not retry_failed}
    present = {file.path for file in scan.files}
    gone = [row for row in rows if row.path not in present and scan.covers(row.path)]
    changes = Changes(
        failed=list(scan.unreadable), remove=sorted(row.path for row in gone), known_paths=frozenset(by_path)
    )
    homeless = _paths_by_content(gone)
    for file in scan.files:
        row = by_path.get(file.path)
        if row is not None and row.video_id in settled and (row.size, row.mtime_ns) == (file.size, file.mtime_ns):
            _keep(row, changes)
            continue
        try:
            video_id = content_id(file.path)
        except OSError as error:
            changes.failed.append((file.path, error.strerror or str(error)))
            continue
        if video_id not in settled:
            changes.encode.setdefault(video_id, []).append(file)
            continue
        known = _at(settled[video_id], file)
        changes.put.append(known)
        if known.status == "failed" or (row is not None and row.video_id == video_id):
            _keep(known, changes)
        elif homeless.get(video_id):
            homeless[video_id].pop()
            changes.moved.append(file.path)
        else:
            changes.count(file.path)
    changes.deleted = [path for paths in homeless.values() for path in paths]
    return changes


def _paths_by_content(rows: Iterable[VideoRow]) -> dict[str, list[str]]:
    paths: dict[str, list[str]] = {}
    for row in rows:
        paths.setdefault(row.video_id, []).append(row.path)
    return paths


def _at(row: VideoRow, file: VideoFile) -> VideoRow:
    """Return what `row` says of the content, for the same content in another file."""
    return replace(row, path=file.path, root=file.root, size=file.size, mtime_ns=file.mtime_ns)


def _keep(row: VideoRow, changes: Changes):
    if row.status == "failed":
        changes.failed.append((row.path, row.error))
    else:
        changes.unchanged.append(row.path)
