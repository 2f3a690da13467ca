"""What is true of every namespace, after every command."""

from quorate.base.check import check
from quorate.base.checksum import SetDigest
from quorate.base.errors import QuorateError
from quorate.gfs.core.chunks import ChunkTable, pending_item
from quorate.gfs.core.namespace import Namespace
from quorate.gfs.core.paths import check_name, join
from quorate.gfs.core.tree import ROOT_ID, File, Tree


def check_state(namespace: Namespace) -> None:
    """Stop with ``Bug`` unless the parts of the state agree with each other."""
    _check_tree(namespace)
    _check_chunks(namespace.chunks)


def _check_tree(namespace: Namespace) -> None:
    tree, chunks = namespace.tree, namespace.chunks
    again = Tree()  # the same nodes attached anew: their digest must be the one kept up
    seen = {ROOT_ID} | {directory for directory, _ in tree.unlinked.items()}
    check(len(seen) == 1 + len(tree.unlinked), "the root is unlinked")
    handles: list[int] = []
    parents: list[int] = []
    for parent, name, node in tree.items():
        try:
            check_name(name, name)
        except QuorateError as error:
            check(False, f"a name that must not be: {error}")
        check(node.id not in seen, f"the id {node.id} stands twice")
        seen.add(node.id)
        parents.append(parent)
        check(node.id < tree.next_id, f"the id {node.id} was never given out")
        again.attach(parent, name, node)
        if isinstance(node, File):
            handles += node.handles
            wanted = -(-node.size // node.chunk_bytes)
            check(len(node.handles) == wanted, f"{name} has chunks for another size")
        else:
            check(node.fence >= 0 and (not node.fence or node.owner), f"{name}: fence, no owner")
    check(all(parent in seen for parent in parents), "an entry is in no folder")
    for directory, _ in tree.unlinked.items():
        again.unlink(directory)
    for path, _ in tree.below((), (), True):
        check(len(join(path).encode()) <= tree.longest, f"{join(path)} is longer than the longest")
    check(again.digest.value == tree.digest.value, "the digest of the tree is not kept up")
    check(len(handles) == len(chunks.used), "a chunk is in two files, or used and in none")
    check(all(handle in chunks.used for handle in handles), "a file's chunk is not marked used")


def _check_chunks(chunks: ChunkTable) -> None:
    digest = SetDigest()
    earliest_ms = min((expiry_ms for _, expiry_ms in chunks.pending.items()), default=None)
    check(chunks.next_deadline_ms() == earliest_ms, "the deadline is not the earliest expiry")
    for handle, expiry_ms in chunks.pending.items():
        check(0 < handle < chunks.next_handle, f"pending chunk {handle} was never given out")
        check(handle not in chunks.used, f"chunk {handle} is pending and in a file")
        digest.add(pending_item(handle, expiry_ms))
    check(digest.value == chunks.digest.value, "the digest of pending chunks is not kept up")


def check_step(before: Namespace, after: Namespace) -> None:
    """Stop with ``Bug`` unless ``after`` can follow ``before``: nothing given out comes back."""
    check(before.tree.next_id <= after.tree.next_id, "ids run backwards")
    check(before.chunks.next_handle <= after.chunks.next_handle, "handles run backwards")
    for handle in range(1, before.chunks.next_handle):
        if before.is_garbage(handle):
            check(after.is_garbage(handle), f"chunk {handle} came back from the garbage")
