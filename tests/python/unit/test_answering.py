"""What waits for a server is ended when nothing answers there any more, and only then."""

import threading

import pytest

from loader import LoadError, answering
from loader.errors import SilentError


@pytest.mark.parametrize(("error", "is_ended"), [(SilentError, True), (LoadError, False)])
def test_a_refusal_is_an_answer(
    error: type[LoadError], is_ended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server with too many connections is there; a statement that takes long may go on."""
    monkeypatch.setattr(answering, "EVERY", 0.01)
    ended, asked = threading.Event(), threading.Semaphore(0)

    def greet() -> None:
        asked.release()
        raise error("no")

    with answering.answering(greet, ended.set):
        assert asked.acquire(timeout=5)
        if is_ended:
            assert ended.wait(5)
        else:
            # It asks again and again.
            assert asked.acquire(timeout=5)
            assert not ended.is_set()
