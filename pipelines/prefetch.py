"""Fetch blocks ahead, several at once, and give them out in order.

Memory holds a few blocks, whatever the range.
"""

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from blockscan.archive import RawBlock
from blockscan.chains.checks import InvalidAnswer
from pipelines.block_writer import Node

Answer = RawBlock | InvalidAnswer


def prefetch(node: Node, numbers: Iterable[int]) -> Generator[tuple[int, Answer]]:
    """Each number with its block, or with what is wrong with the node's answers for it.

    Raises:
        ChainError: the node failed; every block before has been given out.
    """
    workers = max(1, node.concurrent)
    waiting: deque[tuple[int, Future[Answer]]] = deque()
    rest = iter(numbers)
    with ThreadPoolExecutor(workers, thread_name_prefix="fetch") as threads:
        try:
            for number in rest:
                waiting.append((number, threads.submit(_fetch, node, number)))
                if len(waiting) >= 2 * workers:
                    yield _first(waiting)
            while waiting:
                yield _first(waiting)
        finally:
            for _, future in waiting:
                future.cancel()


def _first(waiting: deque[tuple[int, Future[Answer]]]) -> tuple[int, Answer]:
    number, future = waiting.popleft()
    return number, future.result()


def _fetch(node: Node, number: int) -> Answer:
    try:
        return node.fetch(number)
    except InvalidAnswer as error:
        return error
