"""Variables are read without a trace, and the one that a call is about to set is known."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any, Final

import pytest

from poolscope.callsites import hands as hands_module
from poolscope.callsites import reach
from poolscope.callsites.borrower import Borrower
from poolscope.callsites.hands import ALWAYS_SEARCHED, MAX_CHANGES, Hands
from poolscope.callsites.libraries import Library
from poolscope.callsites.owners import ThreadJob
from poolscope.callsites.reach import MAX_ITEMS, MAX_OBJECTS, Search
from poolscope.callsites.variables import pending_variable, variables_of
from poolscope.callsites.whereabouts import Whereabouts
from support.waiting import PATIENCE

LIBRARY = Library("no_such_library", ("connection",))


class Thing:
    """Something that a weak reference can be made of."""


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(autouse=True)
def without_tracer() -> Iterator[None]:
    """Coverage may trace the tests."""
    tracer = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(tracer)


@pytest.mark.usefixtures("without_collector")
def test_nothing_is_kept_alive() -> None:
    def look() -> None:
        variables = variables_of(sys._getframe(1))
        assert variables is not None
        assert isinstance(variables["thing"], Thing)

    thing = Thing()
    gone = weakref.ref(thing)
    look()
    del thing
    assert gone() is None


ONE: Final[frozenset[int]] = frozenset({1})
"""The id of one connection."""


def hands() -> None:
    assert Hands(LIBRARY).handed_on(ONE, lambda: ONE) is not None


def whereabouts() -> None:
    job = ThreadJob()
    for who in (Borrower(None, 0, job, ""), Borrower(None, 0, None, "")):
        Whereabouts().site(who)


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("look", [hands, whereabouts])
def test_no_variables_of_another_thread_are_kept_alive(look: Callable[[], None]) -> None:
    made, go = threading.Event(), threading.Event()
    gone: list[weakref.ref[Thing]] = []

    def work() -> None:
        thing = Thing()
        gone.append(weakref.ref(thing))
        made.set()
        go.wait(PATIENCE)

    thread = threading.Thread(target=work)
    thread.start()
    made.wait(PATIENCE)
    look()
    go.set()
    thread.join()
    assert gone[0]() is None


def test_what_the_application_has_of_its_variables_stays() -> None:
    number = 1
    own = locals()
    variables_of(sys._getframe())
    assert number == own["number"]


def test_the_variables_of_a_function_stay_what_they_are() -> None:
    number = 1
    variables = variables_of(sys._getframe())
    assert variables is not None
    variables["number"] = 2
    assert number == 1
    assert locals()["number"] == 1


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="a debugger and we see one thing there")
def test_a_frame_that_is_traced_is_left_alone() -> None:
    sys.settrace(lambda *_: None)
    try:
        assert variables_of(sys._getframe()) is None
    finally:
        sys.settrace(None)


class TestThePendingVariable:
    def pending(self) -> str:
        frame: FrameType | None = sys._getframe(1)
        assert frame is not None
        return pending_variable(frame)

    async def awaited(self) -> str:
        frame = sys._getframe().f_back
        assert frame is not None
        await asyncio.sleep(0)
        frame = sys._getframe().f_back
        assert frame is not None
        return pending_variable(frame)

    def test_of_a_function(self) -> None:
        connection = self.pending()
        first = second = self.pending()
        assert ("connection", "connection") == (connection, "connection")
        assert first == second
        others = [self.pending(), str(self.pending())]
        assert ["", ""] == others

    def test_that_an_inner_function_shares(self) -> None:
        def inner() -> str:
            return connection

        connection = self.pending()
        assert "connection" == inner()

    def test_of_an_outer_function(self) -> None:
        connection = ""

        def inner() -> None:
            nonlocal connection
            connection = self.pending()

        inner()
        assert "connection" == connection

    async def test_of_an_await(self) -> None:
        connection = await self.awaited()
        assert "connection" == connection
        others = [await self.awaited()]
        assert [""] == others

    def test_of_a_module(self) -> None:
        names: dict[str, Any] = {"pending": self.pending}
        exec("connection = pending()\npending()", names)  # noqa: S102  # it is a module
        assert "connection" == names["connection"]


def in_a_thread(function: Callable[[], Any]) -> Any:
    """Call it where the variables of pytest are none of the caller's."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(function).result()


class TestTheSearch:
    def found(self, *roots: Any, of_others: bool = False, levels: int = 1) -> bool:
        search = Search(LIBRARY, {id(self.wanted)}, levels, of_others)
        search.look(roots)
        return bool(search.found)

    @pytest.fixture(autouse=True)
    def make_wanted(self) -> None:
        self.wanted = Thing()

    def test_is_bounded(self) -> None:
        nested: list[Any] = [self.wanted]
        for _ in range(2 * MAX_OBJECTS):
            nested = [nested]
        assert not self.found(nested)
        assert self.found([0] * (MAX_ITEMS - 1) + [self.wanted])
        assert not self.found([0] * MAX_ITEMS + [self.wanted])

    def test_ends_where_things_refer_to_each_other(self) -> None:
        cycle: list[Any] = []
        cycle.append(cycle)
        assert not self.found(cycle)

    def test_calls_nothing_of_the_application(self) -> None:
        class Lazy:
            def __getattribute__(self, name: str) -> Any:
                raise AssertionError

            def __eq__(self, other: object) -> bool:
                raise AssertionError

            __hash__ = None  # type: ignore[assignment]  # nor can it be a key

        assert not self.found(Lazy(), [Lazy()])


def test_a_place_is_looked_into_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[None] = []
    find: Callable[..., Any] = Hands._find

    def counted(*args: Any) -> Any:
        searched.append(None)
        return find(*args)

    monkeypatch.setattr(Hands, "_find", counted)
    hands = Hands(LIBRARY)
    answers = in_a_thread(lambda: [hands.handed_on(ONE, lambda: ONE) for _ in range(1024)])
    assert not any(answers)
    assert ALWAYS_SEARCHED + 7 == len(searched)


@pytest.mark.parametrize("many", ["objects", "tasks", "threads", "frames that are traced"])
def test_nobody_is_blamed_where_not_all_was_searched(
    many: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another may have what was not found; what was found in one's own variables stays."""
    mine = Thing()

    def search() -> tuple[bool, bool]:
        held = mine  # noqa: F841  # it is what is found
        others = [Thing() for _ in range(30)]  # noqa: F841  # more than are searched
        ids = frozenset({id(mine)})
        return bool(Hands(LIBRARY).handed_on(ids, lambda: ids)), bool(
            Hands(LIBRARY).handed_on(ONE, lambda: ONE)
        )

    async def search_in_a_loop() -> tuple[bool, bool]:
        other = asyncio.ensure_future(asyncio.sleep(0))
        found = search()
        await other
        return found

    assert (False, False) == in_a_thread(search)
    if many == "objects":
        monkeypatch.setattr(reach, "MAX_OBJECTS", 20)
    elif many == "frames that are traced":
        monkeypatch.setattr(hands_module, "variables_of", lambda frame: None)
    else:
        monkeypatch.setattr(hands_module, "MAX_OTHERS", 1)
    found = asyncio.run(search_in_a_loop()) if many == "tasks" else in_a_thread(search)
    assert (many == "frames that are traced", True) == found


def test_connections_that_are_returned_while_they_are_searched_prove_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Under load that may be the answer many times, before a connection is handed on again."""
    answers: list[set[int]] = []
    monkeypatch.setattr(Hands, "_find", lambda *_: answers.pop(0) if answers else {1})
    hands = Hands(LIBRARY)
    for returned in range(64):
        answers[:] = [set()] * returned
        for _ in range(returned):
            assert not hands.handed_on(ONE, frozenset)
        assert hands.handed_on(ONE, lambda: ONE), returned


def test_one_other_answer_does_not_stand_for_the_calls_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers: list[set[int]] = []
    monkeypatch.setattr(Hands, "_find", lambda *_: answers.pop(0) if answers else {1})
    for returned_meanwhile in range(1, 64):
        hands = Hands(LIBRARY)
        answers[:] = [{1}] * (returned_meanwhile - 1) + [set()]
        wrong = sum(not hands.handed_on(ONE, lambda: ONE) for _ in range(1024))
        assert 1 >= wrong, returned_meanwhile


def test_a_place_whose_answers_alternate_is_not_searched_at_each_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    searched: list[bool] = []

    def find(*_: Any) -> set[int]:
        searched.append(len(searched) % 2 == 0)
        return {1} if searched[-1] else set()

    monkeypatch.setattr(Hands, "_find", find)
    hands = Hands(LIBRARY)
    handed_on = sum(bool(hands.handed_on(ONE, lambda: ONE)) for _ in range(1024))
    assert MAX_CHANGES + ALWAYS_SEARCHED + 7 >= len(searched)
    assert 1024 - searched.count(False) == handed_on


def test_what_passes_between_threads_while_they_are_searched_is_nobodys_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thread that has been looked at takes what another one has just given away."""
    looks: list[Search] = []

    def search_threads(search: Search) -> None:
        looks.append(search)
        if len(looks) == 2:  # the second look finds it; at the first, it was on its way
            search.found.update(ONE)

    monkeypatch.setattr(hands_module, "_search_threads", search_threads)
    assert ONE == Hands(LIBRARY).handed_on(ONE, lambda: ONE)
    assert 2 == len(looks)
