"""The fenced publish: a job's output folder appears once and whole, or not at all.

Rules:
* A job (``owner``) writes below a temporary folder of its own, which carries a *fence*: a number
  that each new coordinator of the job raises and that never goes down.
* Whoever creates a file below it shows the fence it was started with; a lower one is a zombie's
  and is ``Fenced``.  With no such folder on the way, a fence is refused too: the job has ended.
* ``publish`` moves exactly the named files into a new folder and removes the temporary one, in one
  command.  The new folder remembers the job, so publishing again succeeds and changes nothing.
* Nothing else goes into or out of a temporary folder, except that it may be deleted.
* When it goes, the folder it lies in goes with it if that is empty then: no job, no trace of jobs.
"""

from quorate.base.errors import AlreadyExists, BadInput, Fenced, NotFound
from quorate.gfs.core.commands import DropOutput, OutputPart, PrepareOutput, Publish
from quorate.gfs.core.paths import Parts, check_name, join, split
from quorate.gfs.core.tree import Directory, File, Node, Tree


def check_fence(tree: Tree, parts: Parts, fence: int) -> None:
    """Raise ``Fenced`` unless a file may be created at ``parts`` by a holder of ``fence``."""
    found = tree.fenced(parts)
    if found is None:
        if fence:
            raise Fenced(
                f"{join(parts)} is in no job's temporary folder any more: the job has ended"
            )
    elif fence < found[0].fence:
        raise Fenced(
            f"{join(found[1])} belongs to the job {found[0].owner} with fence {found[0].fence};"
            f" what comes with fence {fence} is refused"
        )


def refuse_fenced(tree: Tree, parts: Parts) -> None:
    """Raise ``Fenced`` if ``parts`` lies in a job's temporary folder."""
    if (found := tree.fenced(parts)) is not None:
        raise Fenced(
            f"{join(found[1])} belongs to the running job {found[0].owner};"
            " nothing is moved or made there by others"
        )


def refuse_temporary(parts: Parts, node: Node) -> None:
    """Raise ``Fenced`` if ``node``, at ``parts``, is itself a job's temporary folder."""
    if isinstance(node, Directory) and node.fence:
        raise Fenced(f"{join(parts)} belongs to the running job {node.owner}; it is not moved")


def _held(tree: Tree, folder: Parts, owner: str, fence: int) -> Directory | None:
    """The temporary folder at ``folder`` if it is the owner's; ``None`` if nothing is there."""
    node = tree.find(folder)
    if node is None:
        return None
    if isinstance(node, File) or not node.fence or node.owner != owner:
        raise AlreadyExists(f"{join(folder)} exists and is not the temporary folder of {owner}")
    if fence < node.fence:
        raise Fenced(
            f"the job {owner} has fence {node.fence} by now; what comes with {fence} is refused"
        )
    return node


def _is_published(tree: Tree, output: Parts, owner: str) -> bool:
    """Whether ``owner`` published ``output``; raises ``AlreadyExists`` if it is another's."""
    node = tree.find(output)
    if node is None:
        return False
    if isinstance(node, Directory) and node.owner == owner and not node.fence:
        return True
    raise AlreadyExists(f"{join(output)} exists; choose another output folder or delete it")


def _parent(tree: Tree, parts: Parts) -> tuple[Directory, Parts]:
    """The deepest folder above ``parts`` and those missing, when one may be made at ``parts``."""
    refuse_fenced(tree, parts)
    return tree.reach(parts[:-1])


def _places(folder_path: str, output_path: str, owner: str, fence: int) -> tuple[Parts, Parts]:
    folder, output = split(folder_path), split(output_path)
    if not owner or fence < 1:
        raise BadInput("a job's folder needs the job's name and a fence of at least 1")
    if not folder or not output:
        raise BadInput("/ cannot be a job's folder; name one below it")
    if folder[: len(output)] == output or output[: len(folder)] == folder:
        raise BadInput(f"{folder_path} and {output_path} must not lie within each other")
    return folder, output


def prepare_output(tree: Tree, command: PrepareOutput, time_ms: int) -> bool:
    """Whether the owner has published already; if not, its folder now has this fence."""
    folder, output = _places(command.folder, command.output, command.owner, command.fence)
    if _is_published(tree, output, command.owner):
        return True
    _parent(tree, output)
    held = _held(tree, folder, command.owner, command.fence)
    if held is not None:
        tree.set_fence(folder, command.fence)
        return False
    above, missing = _parent(tree, folder)
    parent = tree.make_directories(above, missing, time_ms)
    made = Directory(tree.new_id(), time_ms, command.owner, command.fence)
    tree.attach(parent.id, folder[-1], made)
    tree.note_path(len(command.folder.encode()))
    return False


def _checked_parts(
    tree: Tree, folder: Parts, output: Parts, parts: list[OutputPart]
) -> list[tuple[str, Parts]]:
    moves: dict[str, Parts] = {}
    paths: set[Parts] = set()
    for part in parts:
        check_name(part.name, part.name)
        split(join((*output, part.name)))  # which must not be too long
        path = split(part.path)
        if part.name in moves or path in paths:
            raise BadInput(f"the output part {part.name} or its file {part.path} is named twice")
        if path[: len(folder)] != folder or not isinstance(tree.find(path), File):
            raise NotFound(f"{part.path} is not a file in the job's folder {join(folder)}")
        moves[part.name] = path
        paths.add(path)
    return list(moves.items())


def publish(tree: Tree, command: Publish, time_ms: int) -> list[int]:
    """Move the parts; gives the chunk handles of what else lay in the temporary folder."""
    folder, output = _places(command.folder, command.output, command.owner, command.fence)
    if _is_published(tree, output, command.owner):
        return []
    if _held(tree, folder, command.owner, command.fence) is None:
        raise Fenced(f"{command.folder} is gone: the job {command.owner} was given up")
    moves = _checked_parts(tree, folder, output, command.parts)
    above, missing = _parent(tree, output)
    parent = tree.make_directories(above, missing, time_ms)
    made = Directory(tree.new_id(), time_ms, command.owner)
    tree.attach(parent.id, output[-1], made)
    longest_name = max((len(name.encode()) + 1 for name, _ in moves), default=0)
    tree.note_path(len(command.output.encode()) + longest_name)
    for name, path in moves:
        tree.attach(made.id, name, tree.detach(tree.directory(path[:-1]).id, path[-1]))
    return _remove(tree, folder)


def _remove(tree: Tree, folder: Parts) -> list[int]:
    """Take a temporary folder away, and an empty one above it; gives the chunk handles let go."""
    handles = tree.remove(folder)
    above = folder[:-1]
    if above and tree.is_empty(tree.directory(above)):
        handles += tree.remove(above)
    return handles


def drop_output(tree: Tree, command: DropOutput) -> list[int]:
    """Remove a job's temporary folder; gives the chunk handles let go.

    What stands there without being the owner's is the reason why the job has no folder.
    """
    folder = split(command.folder)
    node = tree.find(folder)
    if not isinstance(node, Directory) or not node.fence or node.owner != command.owner:
        return []
    _held(tree, folder, command.owner, command.fence)
    return _remove(tree, folder)
