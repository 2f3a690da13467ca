"""The search for an order: Wing & Gong (1993), with Lowe's (2017) and Porcupine's memoisation.

Theory of operation.  A *configuration* is the set of operations that have been placed, and the
state they left.  A *candidate* is an operation that was invoked no later than the first return of
those not yet placed: no other may come next.  The search places candidates that are legal, goes
back where none is left, and never enters a configuration twice.  It ends with ``OK`` when all
operations that returned are placed, with ``ILLEGAL`` when nothing is left to try.

Five rules cut what need not be tried.  For each there is an exchange argument: of the orders that
place all that returned, and among these as few open ones as can be, one always survives.

1. A candidate that is legal and could change nothing anywhere (a read; in the dark, a write that
   nobody sees) is placed at once, without an alternative: moved to here, it hinders nobody.
2. An open operation is not placed where it changes nothing or leads into the dark (models.py).
3. After an open operation, what does not depend on it is not placed: it would be needless.
4. Of open operations that do the same, the earliest goes first.
5. Before an overwriting operation goes a candidate that can only lead into the dark: overwritten,
   it leaves no trace.

And it looks ahead: where an operation expects a state that nothing can lead to any more, because
all that a way there could begin with is placed, there is nothing to try.

Sets are small numbers: operations that returned are numbered by their invocation; all below
``base`` are placed, and ``window`` has a bit for each placed one from there on.  Of open operations
``used`` counts how many of each kind are placed.  A step therefore costs about what the number of
operations under way at one moment does, however long the history is.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from quorate.base.check import check
from quorate.linearizability.history import Operation, Outcome, Verdict
from quorate.linearizability.models import ANY, COMPUTED, Model
from quorate.linearizability.strings import DARK

_NEVER = float("inf")
_NO_STATE = -1
_LOOK_AHEAD = 8
"""So many of those that may need an operation are asked before it is placed."""


@dataclass(slots=True)
class _Frame:
    """A configuration on the way, and what is still to be tried from it."""

    operation: int
    """The one that led here."""
    state: int
    base: int
    window: int
    used: int
    before: int
    """The state before ``operation`` if that was an open one (rule 3), else ``_NO_STATE``."""
    choices: list[int]
    """Candidates that return; the best is the last."""
    open_tried: bool = False


class Search:
    """An order of the operations of one key; ``FAIL`` and unanswered reads must not be among them.

    ``advance`` it until it gives a verdict.
    """

    def __init__(self, model: Model, operations: Sequence[Operation]) -> None:
        returned = [o for o in operations if o.outcome is Outcome.OK]
        returned.sort(key=lambda o: o.invoked)
        opened = [o for o in operations if o.outcome is Outcome.INFO]
        opened.sort(key=lambda o: o.invoked)
        self.operations = returned + opened
        self.verdict: Verdict | None = None if returned else Verdict.OK
        self._longest: list[int] = []
        self._count = count = len(returned)
        table = model.tabulate(self.operations)
        self._expects, self._becomes = table.expects, table.becomes
        self._extend, self._leads, self._expected = table.extend, table.leads, table.expected
        self._last, self._last_whole = table.last, table.last_whole
        self._invoked = [o.invoked for o in returned] + [_NEVER]
        self._returned = [_end_of(o) for o in returned]
        self._horizon = [bisect_right(self._invoked, end, 0, count) for end in self._returned]
        """By operation: how many were invoked before it returned; the first so many."""
        self._unseen = table.unseen
        self._beginnings, self._endings = table.beginnings, table.endings
        self._same = [
            (same[: (cut := bisect_left(same, count))], same[cut:]) for same in table.kinds
        ]
        """Operations that do the same: those that return, and the open ones."""
        self._awaited = self._find_awaited()
        self._is_placed = bytearray(len(self.operations))
        self._kinds, self._units = self._sort_open(model)
        self._unit_of = {
            operation: unit
            for same, unit in zip(self._kinds, self._units, strict=True)
            for operation in same
        }
        # A ring of the operations not yet placed, in the order of invocation; its head is
        # ``count``.  One that was taken out still knows its neighbours, so it can be put back.
        self._next = [*range(1, count + 1), 0]
        self._previous = [count, *range(count)]
        self._placed = 0
        self._longest_placed = -1
        self._seen: set[tuple[int, int, int, int]] = set()
        self._frames: list[_Frame] = []
        if count:
            first = _Frame(ANY, table.initial, 0, 0, 0, _NO_STATE, [])
            first.choices = self._candidates(first)
            self._frames.append(first)

    @property
    def remembered(self) -> int:
        """How many configurations are kept, so as not to be entered again."""
        return len(self._seen)

    def longest(self) -> list[Operation]:
        """The longest order that was found."""
        self._keep_longest()
        return [self.operations[position] for position in self._longest]

    def forget(self) -> None:
        """Give their memory back.  The search may do work twice, and stays right."""
        self._seen.clear()

    def advance(self, steps: int) -> int:
        """Take up to ``steps`` steps towards a verdict; gives how many it took."""
        frames = self._frames
        taken = 0
        while taken < steps and self.verdict is None:
            taken += 1
            frame = frames[-1]
            if frame.choices:
                self._try(frame, frame.choices.pop())
            elif not frame.open_tried:
                frame.open_tried = True
                frame.choices = self._open_candidates(frame)
            else:
                self._go_back()
        return taken

    def _sort_open(self, model: Model) -> tuple[list[list[int]], list[int]]:
        """Open operations by what they do, useless ones left out, and each kind's unit in
        ``used``."""
        kinds: dict[tuple[int, int, str], list[int]] = {}
        for position in range(self._count, len(self.operations)):
            expects, becomes = self._expects[position], self._becomes[position]
            if becomes == DARK or expects == becomes != COMPUTED:
                if self._expected is not None and expects != ANY:
                    self._expected[expects] -= 1
                continue
            text = "" if becomes != COMPUTED else model.show(self.operations[position])
            kinds.setdefault((expects, becomes, text), []).append(position)
        units, unit = [], 1
        for same in kinds.values():
            units.append(unit)
            unit <<= len(same).bit_length()
        return list(kinds.values()), units

    def _overwrites(self, operation: int) -> bool:
        """Whether the state before ``operation`` does not matter at all."""
        return self._expects[operation] == ANY and self._becomes[operation] != COMPUTED

    def _candidates(self, frame: _Frame) -> list[int]:
        """Those that return and may come next, the best at the end."""
        state, before, base = frame.state, frame.before, frame.base
        expects, becomes, returned = self._expects, self._becomes, self._returned
        overwriting: list[tuple[int, int]] = []
        others: list[tuple[int, int]] = []
        vanishing = -1  # can only lead into the dark (rule 5)
        first_return = _NEVER
        target, target_return = DARK, _NEVER  # what the first that is not legal here expects
        operation = self._next[self._count]
        while self._invoked[operation] <= first_return:
            expected, after, end = expects[operation], becomes[operation], returned[operation]
            if end < first_return:
                first_return = end
            if expected != ANY and expected != state:
                if not self._reachable(operation, state, base):
                    return []
                if end < target_return:
                    target, target_return = expected, end
            else:
                overwrites, fixed = expected == ANY and after != COMPUTED, after != COMPUTED
                if fixed:
                    needless = overwrites and before != _NO_STATE
                    if self._is_dark(after, base):
                        after = DARK
                else:
                    after = self._extend(state, operation)
                    needless = before != _NO_STATE and self._extend(before, operation) == after
                    fixed = after == DARK and self._unseen[operation] < base
                if not needless:
                    if after == state and (expected == state or (state == DARK and fixed)):
                        return [operation]
                    (overwriting if overwrites else others).append((operation, after))
                    if after == DARK and fixed and (vanishing < 0 or not overwrites):
                        vanishing = operation
            operation = self._next[operation]
        if vanishing >= 0:
            overwriting = [(vanishing, DARK)] if self._overwrites(vanishing) else []
        return self._sorted(others + overwriting, target)

    def _sorted(self, choices: list[tuple[int, int]], target: int) -> list[int]:
        """Best at the end: what is on the way to ``target``, what somebody looks for, what returns
        first."""
        if len(choices) < 2:
            return [operation for operation, _ in choices]
        ranked = [
            (
                after == target or self._leads(after, target),
                after != DARK,
                -self._returned[operation],
                operation,
            )
            for operation, after in choices
        ]
        ranked.sort()
        return [operation for *_, operation in ranked]

    def _open_candidates(self, frame: _Frame) -> list[int]:
        """Of each kind of open operation the earliest that is left, if it may come next."""
        first_return = _NEVER
        vanishing = False
        operation = self._next[self._count]
        while self._invoked[operation] <= first_return:
            first_return = min(first_return, self._returned[operation])
            vanishing = vanishing or self._vanishes(frame, operation)
            operation = self._next[operation]
        choices = []
        for same, unit in zip(self._kinds, self._units, strict=True):
            used = (frame.used // unit) & ((1 << len(same).bit_length()) - 1)
            if used == len(same):
                continue
            operation = same[used]
            if self.operations[operation].invoked > first_return:
                continue
            if self._expects[operation] not in (ANY, frame.state):
                continue
            if self._overwrites(operation) and (vanishing or frame.before != _NO_STATE):
                continue
            choices.append(operation)
        return choices

    def _vanishes(self, frame: _Frame, operation: int) -> bool:
        """Whether ``operation`` is legal and can only lead into the dark."""
        after = self._becomes[operation]
        if self._expects[operation] not in (ANY, frame.state):
            return False
        if after == COMPUTED:
            return self._unseen[operation] < frame.base
        return self._is_dark(after, frame.base)

    def _reachable(self, operation: int, state: int, base: int, skip: int = -1) -> bool:
        """Whether there may be a way from ``state`` to that which ``operation`` expects, if
        ``skip`` is placed."""
        expected = self._expects[operation]
        beginnings = self._beginnings.get(expected)
        if beginnings is None:
            return True
        end = self._horizon[operation]
        if not (self._leads(state, expected) or self._any_left(beginnings, end, base, skip)):
            return False
        endings = self._endings.get(expected)
        return endings is None or self._any_left(endings, end, base, skip)

    def _any_left(self, kinds: Sequence[int], end: int, base: int, skip: int) -> bool:
        """Whether one of ``kinds``, invoked before ``end``, is not placed and not ``skip``."""
        for kind in kinds:
            returning, opened = self._same[kind]
            for place in range(bisect_left(returning, end) - 1, -1, -1):
                operation = returning[place]
                if operation < base:
                    break
                if operation != skip and not self._is_placed[operation]:
                    return True
            if not all(self._is_placed[operation] or operation == skip for operation in opened):
                return True
        return False

    def _find_awaited(self) -> dict[int, list[int]]:
        """By operation that is ``COMPUTED``: who expects a state that can end with it."""
        by_kind: dict[int, list[int]] = {}
        for operation in range(self._count):
            for kind in self._endings.get(self._expects[operation], ()):
                by_kind.setdefault(kind, []).append(operation)
        return {
            operation: by_kind[kind]
            for kind in by_kind
            for same in self._same[kind]
            for operation in same
            if self._becomes[operation] == COMPUTED
        }

    def _abandons(self, frame: _Frame, operation: int, after: int) -> bool:
        """Whether ``operation`` leaves a state for good that somebody still must find."""
        if after == frame.state:
            return False
        base = frame.base
        computed = self._becomes[operation] == COMPUTED
        waiting = (self._last_whole if computed else self._last)[frame.state]
        if (
            waiting >= base
            and waiting != operation
            and not self._is_placed[waiting]
            and not self._reachable(waiting, after, base)
        ):
            return True
        awaiting = self._awaited.get(operation, ())
        first = bisect_left(awaiting, base)
        return any(
            not self._is_placed[waiting]
            and self._expects[waiting] != after
            and not self._reachable(waiting, after, base, operation)
            for waiting in awaiting[first : first + _LOOK_AHEAD]
        )

    def _is_dark(self, state: int, base: int) -> bool:
        """Whether nobody is left to find ``state``."""
        if self._expected is not None:
            return not self._expected[state]
        return self._last[state] < base

    def _try(self, frame: _Frame, operation: int) -> None:
        """Place ``operation`` after ``frame``, unless that was seen before or leads nowhere."""
        after = self._becomes[operation]
        if after == COMPUTED:
            after = self._extend(frame.state, operation)
        opened = operation >= self._count
        expected, looked_for = self._expected, self._expects[operation]
        if expected is not None and looked_for != ANY:
            expected[looked_for] -= 1
        base, window, used, before = frame.base, frame.window, frame.used, _NO_STATE
        if opened:
            used += self._unit_of[operation]
            before = frame.state
        else:
            window |= 1 << (operation - base)
            if window & 1:
                full = (~window & (window + 1)).bit_length() - 1
                base, window = base + full, window >> full
        if self._is_dark(after, base):
            after = DARK
        configuration = (base, window, used, after)
        if (
            configuration in self._seen
            or (opened and after in (DARK, frame.state))
            or self._abandons(frame, operation, after)
        ):
            if expected is not None and looked_for != ANY:
                expected[looked_for] += 1
            return
        self._seen.add(configuration)
        self._is_placed[operation] = True
        if not opened:
            self._placed += 1
            beyond, behind = self._next[operation], self._previous[operation]
            self._next[behind], self._previous[beyond] = beyond, behind
        new = _Frame(operation, after, base, window, used, before, [])
        self._frames.append(new)
        if self._placed == self._count:
            self.verdict = Verdict.OK
        else:
            new.choices = self._candidates(new)

    def _go_back(self) -> None:
        """Nothing is left to try after the last operation that was placed: take it back."""
        self._keep_longest()
        operation = self._frames.pop().operation
        if not self._frames:
            self.verdict = Verdict.ILLEGAL
            return
        if self._expected is not None and self._expects[operation] != ANY:
            self._expected[self._expects[operation]] += 1
        self._is_placed[operation] = False
        if operation < self._count:
            self._placed -= 1
            beyond, behind = self._next[operation], self._previous[operation]
            self._next[behind] = self._previous[beyond] = operation

    def _keep_longest(self) -> None:
        if self._placed > self._longest_placed:
            self._longest_placed = self._placed
            self._longest = [frame.operation for frame in self._frames[1:]]


def _end_of(operation: Operation) -> float:
    check(operation.returned is not None, f"{operation} is OK, and yet it has not returned")
    return operation.returned if operation.returned is not None else _NEVER
