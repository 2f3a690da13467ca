"""The namespace, command by command.  ``Driver`` checks that what is refused changes nothing."""

import pytest
from unit.gfs.support import BLOCK, Driver

from quorate.base.errors import AlreadyExists, BadInput, NotFound
from quorate.gfs.core.chunks import PENDING_MS
from quorate.gfs.core.commands import (
    MAX_ALLOCATION,
    MAX_FILE_CHUNKS,
    AllocateChunks,
    CreateFile,
    Delete,
    List,
    Locate,
    Mkdir,
    Rename,
    RenewChunks,
)


def test_handles_are_given_out_in_order_and_never_twice() -> None:
    driver = Driver()
    assert driver.handles(3) == [1, 2, 3]
    driver.tick(driver.time_ms + PENDING_MS)
    assert driver.handles(2) == [4, 5]


@pytest.mark.parametrize("count", [0, -1, MAX_ALLOCATION + 1])
def test_an_absurd_number_of_handles_is_refused(count: int) -> None:
    with pytest.raises(BadInput):
        Driver().do(AllocateChunks(count))


def test_a_file_appears_with_its_size_chunks_and_log_time() -> None:
    driver = Driver()
    handles = driver.create("/a", 3 * BLOCK - 1)
    entry = driver.stat("/a")
    assert (entry.type, entry.size, entry.handles) == ("file", 3 * BLOCK - 1, handles)
    assert entry.modified_ms == driver.time_ms


def test_an_empty_file_needs_no_chunk() -> None:
    driver = Driver()
    driver.create("/empty", 0)
    assert driver.stat("/empty").handles == []


def test_a_file_does_not_replace_another_and_keeps_its_chunks_pending() -> None:
    driver = Driver()
    driver.create("/a")
    handles = driver.handles(1)
    with pytest.raises(AlreadyExists):
        driver.do(CreateFile("/a", 1, BLOCK, handles))
    driver.do(CreateFile("/b", 1, BLOCK, handles))


def test_a_file_needs_its_folder_unless_folders_are_to_be_made() -> None:
    driver = Driver()
    with pytest.raises(NotFound, match="/x does not exist"):
        driver.create("/x/y/z")
    driver.create("/x/y/z", make_parents=True)
    assert driver.paths() == ["/x", "/x/y", "/x/y/z"]


def test_nothing_goes_below_a_file() -> None:
    driver = Driver()
    driver.create("/a")
    for refused in (
        CreateFile("/a/b", 0, BLOCK, [], make_parents=True),
        CreateFile("/a/b/c", 0, BLOCK, [], make_parents=True),
        Mkdir("/a/b", True),
    ):
        with pytest.raises(BadInput, match="/a is a file"):
            driver.do(refused)
    with pytest.raises(AlreadyExists):
        driver.do(Mkdir("/a", True))


@pytest.mark.parametrize(
    ("size", "chunk_bytes", "count"),
    [
        (1, BLOCK, 0),
        (0, BLOCK, 1),
        (BLOCK + 1, BLOCK, 1),
        (-1, BLOCK, 0),
        (1, BLOCK - 1, 1),
        (1, 0, 1),
        (1, 1 << 40, 1),
    ],
)
def test_a_size_that_does_not_fit_the_chunks_is_refused(
    size: int, chunk_bytes: int, count: int
) -> None:
    driver = Driver()
    handles = driver.handles(1)[:count]
    with pytest.raises(BadInput):
        driver.do(CreateFile("/a", size, chunk_bytes, handles))


def test_a_file_of_too_many_chunks_is_refused() -> None:
    count = MAX_FILE_CHUNKS + 1
    with pytest.raises(BadInput, match="chunks"):
        Driver().do(CreateFile("/a", count * BLOCK, BLOCK, list(range(1, count + 1))))


def test_a_chunk_is_in_one_file_once() -> None:
    driver = Driver()
    (used,) = driver.create("/a")
    (fresh,) = driver.handles(1)
    with pytest.raises(NotFound, match="write it again"):
        driver.do(CreateFile("/b", 1, BLOCK, [used]))
    with pytest.raises(BadInput, match="twice"):
        driver.do(CreateFile("/b", 2 * BLOCK, BLOCK, [fresh, fresh]))
    with pytest.raises(NotFound):
        driver.do(CreateFile("/b", 1, BLOCK, [fresh + 1]))


def test_pending_chunks_expire_by_log_time_unless_renewed() -> None:
    driver = Driver()
    start_ms = driver.time_ms
    lost, kept = driver.handles(2)
    assert driver.namespace.next_deadline_ms() == start_ms + PENDING_MS
    driver.tick(start_ms + PENDING_MS - 1)
    driver.do(RenewChunks([kept]))
    driver.tick(start_ms + PENDING_MS)
    assert [driver.namespace.is_garbage(handle) for handle in (lost, kept)] == [True, False]
    with pytest.raises(NotFound, match="took too long"):
        driver.do(CreateFile("/a", 1, BLOCK, [lost]))
    with pytest.raises(NotFound):
        driver.do(RenewChunks([kept, lost]))
    driver.do(CreateFile("/a", 1, BLOCK, [kept]))
    assert driver.namespace.next_deadline_ms() is None


def test_a_handle_is_garbage_only_when_it_was_given_out_and_let_go() -> None:
    driver = Driver()
    (handle,) = driver.handles(1)
    is_garbage = driver.namespace.is_garbage
    assert not is_garbage(handle)
    assert not is_garbage(handle + 1), "another replica may have given it out already"
    driver.do(CreateFile("/a", 1, BLOCK, [handle]))
    assert not is_garbage(handle)
    driver.do(Delete("/a"))
    assert is_garbage(handle)
    driver.tick(driver.time_ms + 10 * PENDING_MS)
    assert is_garbage(handle)


def test_mkdir_makes_parents_only_when_asked() -> None:
    driver = Driver()
    with pytest.raises(NotFound):
        driver.mkdir("/a/b", parents=False)
    driver.mkdir("/a/b")
    driver.mkdir("/a/b")
    with pytest.raises(AlreadyExists):
        driver.mkdir("/a/b", parents=False)
    assert driver.stat("/a/b").type == "directory"


def test_delete_takes_a_full_folder_only_recursively() -> None:
    driver = Driver()
    inside = driver.create("/a/b/c", 2 * BLOCK, make_parents=True)
    outside = driver.create("/d")
    with pytest.raises(BadInput, match="not empty"):
        driver.do(Delete("/a"))
    with pytest.raises(NotFound):
        driver.do(Delete("/a/x"))
    driver.do(Delete("/a", True))
    assert driver.paths() == ["/d"]
    assert [driver.namespace.is_garbage(h) for h in (*inside, *outside)] == [True, True, False]


def test_the_root_stays() -> None:
    driver = Driver()
    for refused in (Delete("/", True), Rename("/", "/a"), Mkdir("/"), Rename("/", "/")):
        with pytest.raises((BadInput, AlreadyExists)):
            driver.do(refused)
    with pytest.raises(AlreadyExists):
        driver.do(CreateFile("/", 0, BLOCK, []))
    assert driver.stat("/").type == "directory"


def test_rename_moves_a_whole_tree() -> None:
    driver = Driver()
    handles = driver.create("/a/b/c", make_parents=True)
    driver.mkdir("/x")
    driver.do(Rename("/a/b", "/x/y"))
    assert driver.paths() == ["/a", "/x", "/x/y", "/x/y/c"]
    assert driver.stat("/x/y/c").handles == handles


def test_rename_refuses_what_would_lose_or_tie_up_a_tree() -> None:
    driver = Driver()
    driver.create("/a/b", make_parents=True)
    driver.create("/c")
    with pytest.raises(AlreadyExists):
        driver.do(Rename("/a", "/c"))
    with pytest.raises(AlreadyExists):
        driver.do(Rename("/a", "/a"))
    with pytest.raises(BadInput, match="under"):
        driver.do(Rename("/a", "/a/x"))
    with pytest.raises(NotFound):
        driver.do(Rename("/a", "/x/y"))
    with pytest.raises(NotFound):
        driver.do(Rename("/x", "/y"))
    with pytest.raises(BadInput, match="is a file"):
        driver.do(Rename("/a", "/c/a"))


def test_rename_refuses_to_make_a_path_that_nobody_could_write() -> None:
    driver = Driver()
    deep = "/a" + ("/" + "d" * 200) * 20
    driver.mkdir(deep)
    with pytest.raises(BadInput, match="4096"):
        driver.do(Rename("/a", "/" + "b" * 200))
    driver.do(Rename("/a", "/b"))


def test_a_tree_of_two_thousand_folders_is_listed_copied_and_deleted() -> None:
    driver = Driver()
    driver.mkdir("/d" * 2048)
    assert len(driver.paths()) == 2048
    driver.do(Rename("/d", "/e"))
    driver.do(Delete("/e", True))
    assert driver.paths() == []


def test_pages_of_a_listing_join_to_the_whole_in_order() -> None:
    driver = Driver()
    for name in ("b", "a.txt", "a/2", "a/1/x", "c", "ä"):
        driver.create("/top/" + name, 0, make_parents=True)
    whole = driver.paths("/top")
    expected = ["a", "a/1", "a/1/x", "a/2", "a.txt", "b", "c", "ä"]
    assert whole == ["/top/" + name for name in expected]
    for recursive in (True, False):
        found: list[str] = []
        more = True
        while more:
            after = found[-1] if found else ""
            page = driver.ask(List("/top", after, 2, recursive))
            found += [entry.path for entry in page.entries]
            more = page.more
        assert found == [p for p in whole if recursive or p.count("/") == 2]


def test_a_listing_goes_on_after_an_entry_that_is_gone() -> None:
    driver = Driver()
    for name in ("a", "c/1", "c/3", "e"):
        driver.create("/" + name, 0, make_parents=True)
    for after, rest in (("/b", ["/c", "/c/1", "/c/3", "/e"]), ("/c/2/x", ["/c/3", "/e"])):
        page = driver.ask(List("/", after, recursive=True))
        assert [entry.path for entry in page.entries] == rest


def test_a_file_is_listed_as_itself() -> None:
    driver = Driver()
    driver.create("/a")
    assert driver.paths("/a") == ["/a"]
    with pytest.raises(NotFound):
        driver.paths("/b")
    with pytest.raises(BadInput, match="absolute"):
        driver.ask(List("/", "a"))
    driver.mkdir("/d")
    with pytest.raises(BadInput, match="does not lie below"):
        driver.ask(List("/d", "/a"))


def test_a_page_ends_before_it_is_too_large_for_a_frame() -> None:
    driver = Driver()
    folder = "/" + "/".join("x" * 250 for _ in range(10))
    for number in range(200):
        driver.create(f"{folder}/{number:0200}", 0, make_parents=True)
    page = driver.ask(List(folder))
    assert page.more
    assert sum(len(entry.path) for entry in page.entries) < 300_000


def test_chunks_are_located_from_the_byte_asked_for() -> None:
    driver = Driver()
    handles = driver.create("/a", 5 * BLOCK)
    found = driver.ask(Locate("/a", 2 * BLOCK + 7, 2))
    assert (found.first, found.handles) == (2, handles[2:4])
    assert driver.ask(Locate("/a", 5 * BLOCK, 2, found.file)).handles == []
    for refused in (Locate("/a", -1, 1), Locate("/a", 0, 0), Locate("/a", 0, 10_000)):
        with pytest.raises(BadInput):
            driver.ask(refused)
    driver.mkdir("/d")
    with pytest.raises(BadInput, match="folder"):
        driver.ask(Locate("/d", 0, 1))


def test_a_reader_never_sees_two_files_under_one_path() -> None:
    driver = Driver()
    driver.create("/a")
    first = driver.ask(Locate("/a", 0, 1)).file
    driver.do(Delete("/a"))
    driver.create("/a")
    with pytest.raises(NotFound, match="replaced"):
        driver.ask(Locate("/a", 0, 1, first))
