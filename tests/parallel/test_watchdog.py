"""Watchdogs of several processes agree on where to stop."""

import itertools
import threading
import time

from hpa_jax.parallel.watchdog import Watchdog


def watchdogs(count):
    """One of each of so many processes, with a dict in place of the store."""
    store = {}
    lock = threading.Lock()

    def exchange_of(index):
        def exchange(line):
            with lock:
                store[index] = line
                return dict(store)

        return exchange

    def make(index):
        return Watchdog(
            index,
            count,
            host=f"host{index}",
            exchange=exchange_of(index),
            timeout_s=60,
            log=lambda text: None,
        )

    return [make(index) for index in range(count)]


def test_all_stop_at_the_same_milestone_wherever_they_are_when_one_is_asked():
    group = watchdogs(3)
    stopped_at = {}
    under_way = threading.Event()

    def work(watchdog, seconds):
        for step in itertools.count():
            if watchdog.index == 0 and step == 21:
                under_way.set()
            if watchdog.report_progress(f"step {step}"):
                stopped_at[watchdog.index] = step
                return
            time.sleep(seconds)

    threads = []
    for watchdog in group:
        pace = 0.002 * (1 + watchdog.index)
        threads.append(threading.Thread(target=work, args=(watchdog, pace)))
        threads[-1].start()
    assert under_way.wait(120)
    group[2].request_stop("SIGTERM")
    for thread in threads:
        thread.join(120)
    assert set(stopped_at) == {0, 1, 2} and len(set(stopped_at.values())) == 1
    assert stopped_at[0] > 20
    assert {watchdog.stop_requested_by for watchdog in group} == {"SIGTERM to process 2"}
    for watchdog in group:
        watchdog.close()
