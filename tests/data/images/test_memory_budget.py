import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from imbal_jax.data.images import memory_budget as memory
from imbal_jax.data.images import pictures
from imbal_jax.data.images.memory_budget import FILES, LIMIT, PIXELS, Budget, need, one_file
from imbal_jax.data.images.pictures import open_picture
from imbal_jax.data.images.refusal import ReadError


def test_threads_together_never_take_more_than_the_limit():
    budget, most = Budget(100), []

    def work(count):
        with one_file():
            need(budget, count)
            most.append(budget.used)
            time.sleep(0.001)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [70, 30, 60, 100, 10, 40, 5] * 10))
    assert max(most) <= 100
    assert budget.used == 0


def test_more_than_there_ever_is_is_refused_and_what_was_taken_comes_back():
    budget = Budget(100)
    with one_file():
        need(budget, 60)
        with pytest.raises(ReadError, match="too-large"):
            need(budget, 101)
    assert budget.used == 0


def test_a_large_file_is_not_passed_by_small_ones_for_ever():
    budget, done, stop = Budget(100), threading.Event(), threading.Event()

    def small():
        while not stop.is_set():
            with one_file():
                need(budget, 30)

    def large():
        with one_file():
            need(budget, 100)
        done.set()

    threads = [threading.Thread(target=target) for target in (small, small, small, large)]
    for thread in threads:
        thread.start()
    assert done.wait(20)
    stop.set()
    for thread in threads:
        thread.join()


def test_a_scope_inside_another_gives_back_with_the_outer_one():
    budget = Budget(100)
    with one_file():
        with one_file():
            need(budget, 40)
        assert budget.used == 40
        need(budget, 30)  # less than is held
        assert budget.used == 40
        need(budget, 90)
        assert budget.used == 90
    assert budget.used == 0


def test_files_and_pixels_are_two_gibibytes_together():
    assert FILES.limit + PIXELS.limit == LIMIT == 2 * 2**30


@pytest.mark.parametrize("kind", ["L", "RGB", "RGBA", "P", "I;16"])
def test_a_picture_takes_what_it_needs_before_it_is_decoded(kind, monkeypatch):
    stream = io.BytesIO()
    image = (
        Image.fromarray(np.zeros((300, 300), np.uint16)) if kind == "I;16" else Image.new(kind, (300, 300))
    )
    image.save(stream, "PNG")
    budget, taken = Budget(2**30), []
    monkeypatch.setattr(pictures, "PIXELS", budget)
    decoded = Image.Image.load

    def load(self):
        taken.append(budget.used)
        return decoded(self)

    monkeypatch.setattr(Image.Image, "load", load)
    open_picture(stream.getvalue(), colour=True)
    assert min(taken) >= 300 * 300 * 6  # Pillow's bytes, numpy's, and float32
    assert budget.used == 0
    monkeypatch.setattr(pictures, "PIXELS", Budget(300 * 300 * 6))
    with pytest.raises(ReadError, match="too-large"):
        open_picture(stream.getvalue())
    assert memory.PIXELS.used == 0
