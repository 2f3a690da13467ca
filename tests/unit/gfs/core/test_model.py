"""The namespace against a plain dict of paths, under random commands.

Few names, so that commands collide.  The model decides by itself, in its own words, whether a
command is refused and what is there afterwards.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from unit.gfs.support import BLOCK, Driver, copy_of

from quorate.base.codec import Command
from quorate.base.errors import QuorateError
from quorate.base.machine import restore_all
from quorate.gfs.core.chunks import PENDING_MS
from quorate.gfs.core.commands import (
    CreateFile,
    Delete,
    DropOutput,
    Mkdir,
    OutputPart,
    PrepareOutput,
    Publish,
    ReleaseChunks,
    Rename,
)
from quorate.gfs.core.invariants import check_state
from quorate.gfs.core.namespace import Namespace

paths = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(lambda n: "/" + "/".join(n))
owners = st.sampled_from(["j1", "j2"])
fences = st.integers(1, 3)


@dataclass(frozen=True)
class Model:
    """What stands at a path; ``chunks`` is ``None`` for a folder."""

    chunks: tuple[int, ...] | None = None
    owner: str = ""
    fence: int = 0


def above(path: str) -> list[str]:
    """The folders above ``path``, without the root."""
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(2, len(parts))]


class NamespaceModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver()
        self.there: dict[str, Model] = {}
        self.views: list[tuple[Iterator[bytes], int]] = []

    # The model's view.

    def under(self, path: str) -> list[str]:
        return [other for other in self.there if other == path or other.startswith(path + "/")]

    def is_file(self, path: str) -> bool:
        return path in self.there and self.there[path].chunks is not None

    def file_above(self, path: str) -> bool:
        return any(map(self.is_file, above(path)))

    def fenced(self, path: str) -> Model | None:
        return next((self.there[p] for p in above(path) if self.there.get(p, Model()).fence), None)

    def complete(self, path: str) -> bool:
        return all(p in self.there for p in above(path))

    def add(self, path: str, node: Model) -> None:
        for parent in above(path):
            self.there.setdefault(parent, Model())
        self.there[path] = node

    def remove(self, path: str) -> None:
        for other in self.under(path):
            del self.there[other]

    def remove_temporary(self, folder: str) -> None:
        self.remove(folder)
        parent = folder.rpartition("/")[0]
        if self.under(parent) == [parent]:
            self.remove(parent)

    def agree(self, command: Command[Any], allowed: bool) -> bool:
        """Apply ``command``; whether it was done, as the model said it would be."""
        try:
            self.driver.do(command)
        except QuorateError as error:
            assert not allowed, f"{command} was refused: {error}"
            return False
        assert allowed, f"{command} should have been refused"
        return True

    # Commands.

    @rule(path=paths, chunks=st.integers(0, 2), fence=st.integers(0, 3), parents=st.booleans())
    def create(self, path: str, chunks: int, fence: int, parents: bool) -> None:
        handles = self.driver.handles(chunks) if chunks else []
        folder = self.fenced(path)
        fence_fits = fence >= folder.fence if folder else fence == 0
        allowed = (
            path not in self.there
            and not self.file_above(path)
            and (parents or self.complete(path))
            and fence_fits
        )
        command = CreateFile(path, chunks * BLOCK, BLOCK, handles, fence, parents)
        if self.agree(command, allowed):
            self.add(path, Model(tuple(handles)))

    @rule(path=paths, parents=st.booleans())
    def mkdir(self, path: str, parents: bool) -> None:
        exists = path in self.there
        fresh = not (exists or self.file_above(path) or self.fenced(path)) and (
            parents or self.complete(path)
        )
        again = exists and not self.is_file(path) and parents
        if self.agree(Mkdir(path, parents), fresh or again) and fresh:
            self.add(path, Model())

    @rule(path=paths, recursive=st.booleans())
    def delete(self, path: str, recursive: bool) -> None:
        allowed = path in self.there and (recursive or self.under(path) == [path])
        if self.agree(Delete(path, recursive), allowed):
            self.remove(path)

    @rule(source=paths, moved_to=paths)
    def rename(self, source: str, moved_to: str) -> None:
        allowed = (
            source in self.there
            and moved_to not in self.there
            and self.complete(moved_to)
            and not self.file_above(moved_to)
            and not moved_to.startswith(source + "/")
            and not self.fenced(source)
            and not self.there[source].fence
            and not self.fenced(moved_to)
        )
        if self.agree(Rename(source, moved_to), allowed):
            moved = {moved_to + p[len(source) :]: self.there[p] for p in self.under(source)}
            self.remove(source)
            self.there.update(moved)

    # The output of jobs.

    def apart(self, folder: str, output: str) -> bool:
        return not (folder + "/").startswith(output + "/") and not (output + "/").startswith(
            folder + "/"
        )

    def published(self, output: str, owner: str) -> bool:
        return self.there.get(output) == Model(None, owner)

    def held(self, folder: str, owner: str, fence: int) -> bool:
        node = self.there.get(folder)
        return node is not None and node.owner == owner and 0 < node.fence <= fence

    def room(self, path: str) -> bool:
        return path not in self.there and not self.file_above(path) and not self.fenced(path)

    @rule(folder=paths, output=paths, owner=owners, fence=fences)
    def prepare(self, folder: str, output: str, owner: str, fence: int) -> None:
        done = self.apart(folder, output) and self.published(output, owner)
        fresh = (
            self.apart(folder, output)
            and self.room(output)
            and (self.room(folder) or self.held(folder, owner, fence))
        )
        command = PrepareOutput(folder, output, owner, fence)
        if self.agree(command, done or fresh) and not done:
            self.add(folder, Model(None, owner, fence))

    @rule(folder=paths, output=paths, owner=owners, fence=fences, data=st.data())
    def publish(
        self, folder: str, output: str, owner: str, fence: int, data: st.DataObject
    ) -> None:
        inside = [path for path in self.under(folder) if self.is_file(path) and path != folder]
        chosen = data.draw(st.lists(st.sampled_from(inside), unique=True)) if inside else []
        parts = [OutputPart(f"part-{n}", path) for n, path in enumerate(chosen)]
        done = self.apart(folder, output) and self.published(output, owner)
        allowed = (
            self.apart(folder, output) and self.room(output) and self.held(folder, owner, fence)
        )
        command = Publish(folder, output, parts, owner, fence)
        if self.agree(command, done or allowed) and not done:
            moved = {f"{output}/{part.name}": self.there[part.path] for part in parts}
            self.add(output, Model(None, owner))
            self.remove_temporary(folder)
            self.there.update(moved)

    @rule(folder=paths, owner=owners, fence=fences)
    def drop(self, folder: str, owner: str, fence: int) -> None:
        node = self.there.get(folder, Model())
        own = node.fence > 0 and node.owner == owner
        if self.agree(DropOutput(folder, owner, fence), not own or node.fence <= fence) and own:
            self.remove_temporary(folder)

    @rule(handles=st.lists(st.integers(-1, 20)))
    def release(self, handles: list[int]) -> None:
        self.agree(ReleaseChunks(handles), True)
        assert all(handle not in self.driver.namespace.chunks.pending for handle in handles)

    @rule()
    def restart(self) -> None:
        self.driver.namespace = copy_of(self.driver.namespace)

    @rule()
    def freeze(self) -> None:
        namespace = self.driver.namespace
        self.views.append((namespace.snapshot(), namespace.digest()))

    @rule(number=st.integers(0, 3))
    def read_what_was_frozen(self, number: int) -> None:
        if self.views:
            stream, digest = self.views.pop(number % len(self.views))
            then = Namespace()
            restore_all(then, stream)
            check_state(then)
            assert then.digest() == digest

    @rule(delay_ms=st.sampled_from([1, PENDING_MS]))
    def pass_time(self, delay_ms: int) -> None:
        self.driver.tick(self.driver.time_ms + delay_ms)

    # What must hold after each.

    @invariant()
    def the_same_things_are_there(self) -> None:
        assert sorted(self.driver.paths()) == sorted(self.there)
        for path, node in self.there.items():
            entry = self.driver.stat(path)
            assert (entry.type == "file") == (node.chunks is not None)
            assert tuple(entry.handles) == (node.chunks or ())

    @invariant()
    def exactly_the_chunks_of_no_file_are_garbage(self) -> None:
        namespace = self.driver.namespace
        used = [handle for node in self.there.values() for handle in node.chunks or ()]
        for handle in range(1, namespace.chunks.next_handle):
            kept = handle in used or handle in namespace.chunks.pending
            assert namespace.is_garbage(handle) != kept


TestNamespaceModel = NamespaceModel.TestCase
TestNamespaceModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
