"""Work for processes of a pool, which find it by its name; it imports little, so that they start soon."""

import os
import time
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info


def squares(numbers: tuple[int, ...]) -> list[int]:
    return [number * number for number in numbers]


def die_on_three(numbers: tuple[int, ...]) -> list[int]:
    if 3 in numbers:
        os._exit(1)
    return squares(numbers)


def fail_on_three(numbers: tuple[int, ...]) -> list[int]:
    if 3 in numbers:
        message = "three"
        raise LookupError(message)
    return squares(numbers)


def sleep_unless_first(numbers: tuple[int, ...]) -> int:
    if numbers != (0,):
        time.sleep(600)
    return os.getpid()


def leave_a_mark(work: tuple[str, int]) -> None:
    folder, number = work
    Path(folder, str(number)).touch()


def threads_after_a_product(_chunk: None) -> set[int]:
    matrix = np.ones((4, 4))
    assert (matrix @ matrix).sum() == 64
    return {int(one["num_threads"]) for one in threadpool_info()}
