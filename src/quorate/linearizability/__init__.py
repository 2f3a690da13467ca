"""Is a history of operations one that a single, correct copy of the data could have shown?

``history`` says what an operation is, ``models`` what a register, a key/value map and a lock are,
``search`` looks for an order, ``judge`` puts them together and ``explain`` says what does not fit.
``jepsen`` reads histories from files; ``page`` draws a judgement as HTML.  All of it is pure.
"""
