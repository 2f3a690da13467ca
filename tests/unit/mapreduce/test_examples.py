"""The examples do what they say."""

from pathlib import Path

from quorate.mapreduce.job_file import read_job_file
from quorate.mapreduce.sequential import run_sequential

EXAMPLES = Path(__file__).parents[3] / "examples"
FILES = [("/a", b"The cat and the hat\n"), ("/b", b"a hat\nA CAT_FLAP; cat\n")]


def output(example: str) -> str:
    name, source = read_job_file(str(EXAMPLES / example))
    return run_sequential(name, source, FILES, 1)[0].decode()


def test_word_count_counts_words() -> None:
    assert output("wordcount.py") == (
        "A\t1\nCAT_FLAP;\t1\nThe\t1\na\t1\nand\t1\ncat\t2\nhat\t2\nthe\t1\n"
    )


def test_the_inverted_index_names_each_file_once() -> None:
    assert output("inverted_index.py") == (
        "and\t/a\ncat\t/a /b\ncat_flap\t/b\nhat\t/a /b\nthe\t/a\n"
    )
