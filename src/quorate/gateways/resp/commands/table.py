"""The one table of commands: all lines of this folder's files, by name."""

from quorate.gateways.resp.commands import administration, keys, scripts, session, strings
from quorate.gateways.resp.commands.entry import Entry

ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for module in (strings, keys, scripts, session, administration)
    for entry in sorted(module.ENTRIES, key=lambda entry: entry.name)
}
"""By name, in lower case."""

BY_SPELLING: dict[bytes, Entry] = {
    spelling: entry
    for name, entry in ENTRIES.items()
    for spelling in (name.encode(), name.upper().encode())
}
"""As clients mostly write it."""


def find(name: bytes) -> Entry | None:
    """However it is written."""
    return BY_SPELLING.get(name) or BY_SPELLING.get(name.lower())
