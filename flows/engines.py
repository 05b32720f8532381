"""Where chunks of work run: in this process, or in a pool of processes on this machine."""

import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process
from typing import Protocol, TypeVar

from threadpoolctl import threadpool_limits

from flows.errors import EngineError

Chunk = TypeVar("Chunk")
Result = TypeVar("Result")

POOL_FROM = 64
"""Items from which a pool is worth its start: each of its processes imports the models first."""

_AHEAD = (
    2  # chunks a worker that wait for it, or for the caller: results pile up no higher than that
)


class Engine(Protocol):
    """Runs a picklable function over chunks; results come with their chunk's number, as they are ready.

    Who stops before the last one closes the generator (`contextlib.closing`): that ends the work.
    """

    def __call__(
        self, function: Callable[[Chunk], Result], chunks: Sequence[Chunk]
    ) -> Generator[tuple[int, Result], None, None]: ...


def local_engine(items: int, workers: int) -> Engine:
    """A pool of so many processes, or this process when the items are too few to pay for one."""
    return Pool(workers) if items >= POOL_FROM and workers > 1 else in_this_process


def in_this_process(
    function: Callable[[Chunk], Result], chunks: Sequence[Chunk]
) -> Generator[tuple[int, Result], None, None]:
    """One chunk after the other."""
    for number, chunk in enumerate(chunks):
        yield number, on_one_thread(function, chunk)


def on_one_thread(function: Callable[[Chunk], Result], chunk: Chunk) -> Result:
    """What `function` says of `chunk`, with linear algebra on one thread.

    Two threads add up in another order than one: the last digits would tell which engine ran. And as
    many processes as cores, each with as many threads, are slower than one thread each.
    """
    with threadpool_limits(limits=1):
        return function(chunk)


class Pool:
    """Processes that start without anything of ours (spawn), so that no lock or connection is shared."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def __call__(
        self, function: Callable[[Chunk], Result], chunks: Sequence[Chunk]
    ) -> Generator[tuple[int, Result], None, None]:
        """Results as they are ready; raises EngineError when a process dies.

        Closing the generator, or an error in it such as Ctrl-C, ends the processes at once.
        """
        workers = min(self._workers, len(chunks))
        if workers == 0:
            return
        pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin_worker)
        running: dict[Future[Result], int] = {}
        left = iter(enumerate(chunks))
        is_done = False

        def start_next() -> None:
            for number, chunk in left:
                running[pool.submit(on_one_thread, function, chunk)] = number
                return

        try:
            for _ in range(_AHEAD * workers):
                start_next()
            while running:
                ready, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in ready:
                    number = running.pop(future)
                    result = future.result()
                    start_next()
                    yield number, result
                    del result  # or the last chunk would stay until the next one is ready
            is_done = True
        except BrokenProcessPool:
            message = (
                "a process that computes died, killed perhaps for want of memory; "
                "set LODESTONE_WORKERS to fewer processes and run again"
            )
            raise EngineError(message) from None
        finally:
            if not is_done:
                _end(pool)
            pool.shutdown(wait=True, cancel_futures=True)


def _end(pool: ProcessPoolExecutor) -> None:
    # Python 3.14 has `terminate_workers`; without it a chunk that runs would be waited for.
    for process in list((pool._processes or {}).values()):
        process.terminate()


def _begin_worker() -> None:
    # Ctrl-C reaches the whole group of processes: a worker has nothing to tidy and nothing to say.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A parent that was killed tells nobody: its workers would wait for work for ever.
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
