"""Drawing ahead changes when a draw is made, never what it is, and leaves no thread behind."""

import gc
import os
import threading
import time
import warnings

import pytest
import torch

from seeds.noise import Ahead, gaussian

ORDER = range(-1, 12)


def make(draw):
    return gaussian([3, 5], draw, (4, 4))


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_the_values_are_those_of_the_function():
    with Ahead(make, ORDER) as ahead:
        assert all(torch.equal(ahead(draw), make(draw)) for draw in ORDER)
        assert torch.equal(ahead(5), make(5)) and torch.equal(ahead(40), make(40))


@pytest.mark.parametrize("asked", [[0, 0, 1, -1, 0, 3, 1, 2], list(range(11, -2, -1)), [-1, 0, 7, 1, 2, 7, 3]])
def test_any_order_and_repeats_give_the_same(asked):
    with Ahead(make, ORDER) as ahead:
        assert all(torch.equal(ahead(draw), make(draw)) for draw in asked)


def test_draws_are_made_in_one_other_thread_and_only_a_few_ahead():
    made = []
    with Ahead(lambda draw: made.append(threading.current_thread()) or make(draw), range(100)) as ahead:
        for asked in range(1, 6):
            ahead(asked - 1)
            deadline = time.monotonic() + 5
            while len(made) < asked + 4 and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(0.005)
            assert len(made) == asked + 4
    assert set(made) != {threading.current_thread()} and len(set(made)) == 1


def test_leaving_early_ends_the_thread():
    with Ahead(make, range(10**6)) as ahead:
        ahead(0)
        assert any(thread.name == "seeds-noise-ahead" for thread in threading.enumerate())
    assert not any(thread.name == "seeds-noise-ahead" for thread in threading.enumerate())
    assert torch.equal(ahead(1), make(1))  # still right, made on the spot
    ahead.close()


def test_an_error_in_the_loop_ends_the_thread():
    with pytest.raises(KeyError), Ahead(make, range(10**6)) as ahead:
        ahead(0)
        raise KeyError


def test_a_forgotten_one_ends_with_its_last_reference():
    ahead = Ahead(make, range(10**6))
    ahead(0)
    del ahead
    gc.collect()


def test_an_error_reaches_the_caller_at_the_draw_it_belongs_to():
    def fails_at_2(draw):
        if draw == 2:
            raise OSError("no more numbers")
        return make(draw)

    with Ahead(fails_at_2, ORDER) as ahead:
        for draw in (-1, 0, 1):
            assert torch.equal(ahead(draw), make(draw))
        with pytest.raises(OSError, match="no more numbers"):
            ahead(2)
        assert torch.equal(ahead(3), make(3))


def test_another_dtype_sees_the_same_noise():
    with Ahead(make, ORDER, dtype=torch.float64) as ahead:
        assert torch.equal(ahead(-1), make(-1).double()) and torch.equal(ahead(7), make(7).double())


def test_an_empty_order_makes_on_demand():
    with Ahead(make, ()) as ahead:
        assert torch.equal(ahead(0), make(0))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_makes_its_own():
    with Ahead(lambda draw: torch.full((2,), float(draw)), range(100)) as ahead:
        ahead(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of forking with threads, which is the point here
            child = os.fork()
        if child == 0:
            right = all(ahead(draw).tolist() == [draw, draw] for draw in range(1, 30))
            ahead.close()
            os._exit(0 if right else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert ahead(1).tolist() == [1, 1]
