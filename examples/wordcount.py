"""Count how often each word occurs: words are what white space separates.

quorate run examples/wordcount.py '/books/*' --output /counts
"""


def map(key, value):
    for word in value.split():
        yield word, 1


def reduce(key, values):
    yield key, sum(values)
