"""The vocabulary: ids, errors, codec, checksums, digests and the state machine contract.

Imports nothing of ours.  Everything else may import it.
"""
