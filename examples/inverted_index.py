"""For each word, the files that hold it: a search engine's index.

quorate run examples/inverted_index.py '/books/*' --output /index
"""

import re

WORD = re.compile(r"[a-z_]{2,}")


def map(key, value):
    for word in set(WORD.findall(value.lower())):
        yield word, key.path


def reduce(key, values):
    yield key, " ".join(dict.fromkeys(values))
