"""The one loop of inference: read, predict, merge, write, each beside the others.

reader -> batches -> model -> merger -> pieces -> writer. Reading and writing have a thread each and
short queues between, so memory is bounded and the model waits for neither.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

Batch = TypeVar("Batch")
Piece = TypeVar("Piece")


class _End:
    """Marks the end of a queue."""


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Stopped(Exception):
    """The other side has gone away."""


class _Channel(Generic[Batch]):
    """A bounded queue that either side can close."""

    def __init__(self, depth: int) -> None:
        self._queue: queue.Queue[Any] = queue.Queue(depth)
        self.closed = threading.Event()

    def put(self, item: Any) -> None:
        while not self.closed.is_set():
            try:
                self._queue.put(item, timeout=0.2)
                return
            except queue.Full:
                continue
        raise _Stopped

    def get(self) -> Any:
        while True:
            try:
                return self._queue.get(timeout=0.2)
            except queue.Empty:
                if self.closed.is_set():
                    raise _Stopped from None


def read_ahead(source: Iterable[Batch], depth: int = 3) -> Iterator[Batch]:
    """Iterate over a source whose items are made in a thread, ``depth`` of them ahead."""
    channel: _Channel[Batch] = _Channel(depth)

    def work() -> None:
        try:
            for item in source:
                channel.put(item)
            channel.put(_End())
        except _Stopped:
            pass
        except BaseException as error:  # handed to the consumer, whatever it is
            try:
                channel.put(_Failure(error))
            except _Stopped:
                pass

    thread = threading.Thread(target=work, name="geomm-reader", daemon=True)
    thread.start()
    try:
        while not isinstance(item := channel.get(), _End):
            if isinstance(item, _Failure):
                raise item.error
            yield item
    finally:
        channel.closed.set()
        thread.join()


class WriteBehind(Generic[Piece]):
    """Writes pieces in a thread, in order; an error surfaces at the next write or at the end.

    Use as a context manager: a clean exit waits until all is written, an exception stops at once.

    Args:
      write: called with each piece.
      depth: pieces that may wait.
    """

    def __init__(self, write: Callable[[Piece], None], depth: int = 3) -> None:
        self._write = write
        self._channel: _Channel[Piece] = _Channel(depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="geomm-writer", daemon=True)

    def __enter__(self) -> WriteBehind[Piece]:
        self._thread.start()
        return self

    def __call__(self, piece: Piece) -> None:
        try:
            self._channel.put(piece)
        except _Stopped:
            self._raise()

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            try:
                self._channel.put(_End())
            except _Stopped:
                pass
        else:
            self._channel.closed.set()
        self._thread.join()
        if kind is None:
            self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            while not isinstance(item := self._channel.get(), _End):
                self._write(item)
        except _Stopped:
            pass
        except BaseException as error:  # raised again where the pieces come from
            self._error = error
            self._channel.closed.set()


def stream(
    reader: Iterable[Batch],
    predict: Callable[[Batch], Any],
    merge: Callable[[Batch, Any], Iterable[Piece]],
    write: Callable[[Piece], None],
    *,
    depth: int = 3,
    done: Callable[[Batch], None] | None = None,
) -> None:
    """Run the loop to its end.

    Args:
      reader: yields batches; iterated in a thread.
      predict: from a batch to predictions.
      merge: from a batch and its predictions to the pieces that are finished.
      write: called with each piece, in a thread.
      depth: batches and pieces that may wait.
      done: called after each batch, for progress.

    Raises:
      Whatever a stage raises, once; the others have stopped by then.
    """
    with WriteBehind(write, depth) as write_behind:
        batches = read_ahead(reader, depth)
        try:
            for batch in batches:
                for piece in merge(batch, predict(batch)):
                    write_behind(piece)
                if done is not None:
                    done(batch)
        finally:
            batches.close()  # type: ignore[attr-defined]
