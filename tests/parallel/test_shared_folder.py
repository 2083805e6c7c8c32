"""Processes that prove to each other that they see the same folder, as threads with a store."""

import threading

from hpa_jax.errors import InputError
from hpa_jax.parallel.process_group import SINGLE_PROCESS
from hpa_jax.parallel.shared_folder import check_shared_folder

TIMEOUT_S = 60
SOON_S = 1


class Store:
    """What the processes of a group exchange; real ones are in test_runs and test_full_disks."""

    def __init__(self, count):
        self.count = count
        self.values = {}
        self.changed = threading.Condition()

    def set(self, key, value):
        with self.changed:
            self.values[key] = value
            self.changed.notify_all()

    def get(self, key):
        with self.changed:
            assert self.changed.wait_for(lambda: key in self.values, TIMEOUT_S)
            return self.values[key]


class Group:
    """One of several processes, with the part of ProcessGroup's interface that is needed."""

    def __init__(self, store, index):
        self.store = store
        self.index = index
        self.count = store.count
        self.is_primary = index == 0
        self.broadcasts = 0

    def report_progress(self, where):
        pass

    def broadcast(self, value):
        self.broadcasts += 1
        if self.is_primary:
            self.store.set(("broadcast", self.broadcasts), value)
        return self.store.get(("broadcast", self.broadcasts))

    def collect(self, name, value):
        self.store.set((name, self.index), value)
        if not self.is_primary:
            return None
        return [self.store.get((name, index)) for index in range(self.count)]


def errors_of(*folders, timeout_s=TIMEOUT_S):
    """What each process says that has the folder of its number for its --workdir."""
    store = Store(len(folders))
    said = {}

    def check(index):
        try:
            check_shared_folder(Group(store, index), folders[index], timeout_s)
            said[index] = ""
        except InputError as error:
            said[index] = str(error)

    threads = [threading.Thread(target=check, args=(index,)) for index in range(len(folders))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [said[index] for index in range(len(folders))]


def test_one_folder_is_seen_by_all_and_left_as_it_was(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    old = tmp_path / f".shared.{'0' * 32}.1.part"
    old.write_text("of a process that was killed")
    kept = tmp_path / ".shared.notes.part"
    kept.write_text("of somebody")
    assert errors_of(tmp_path, tmp_path, tmp_path) == ["", "", ""]
    assert sorted(path.name for path in tmp_path.iterdir()) == [kept.name, "config.json"]


def test_a_folder_of_its_own_is_told_by_all(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    said = errors_of(tmp_path, tmp_path, other, timeout_s=2 * SOON_S)
    assert len(set(said)) == 1 and "process 2 (" in said[0], said
    assert f"does not see in --workdir={other} what process 0 (" in said[0]
    assert [path.name for path in tmp_path.iterdir()] == ["other"] and not any(other.iterdir())


def test_what_the_first_process_does_not_see_is_told_too(tmp_path):
    """The second process reads through the first one's folder, and its own files stay there."""
    seen = tmp_path / "seen"
    seen.mkdir()
    layered = Layered(seen, tmp_path / "upper")
    layered.upper.mkdir()
    said = errors_of(seen, layered, timeout_s=2 * SOON_S)
    assert len(set(said)) == 1 and said[0].startswith("process 0 ("), said
    assert f"does not see in --workdir={seen} what process 1 (" in said[0]


class Layered:
    """A folder whose new files are elsewhere, as those of an overlay or a cache on one host."""

    def __init__(self, lower, upper):
        self.lower = lower
        self.upper = upper

    def __truediv__(self, name):
        lower = self.lower / name
        return lower if lower.exists() else self.upper / name


def test_a_folder_that_a_process_has_not_is_told(tmp_path):
    missing = tmp_path / "missing"
    said = errors_of(tmp_path, missing, timeout_s=2 * SOON_S)
    assert len(set(said)) == 1 and "process 1 (" in said[0] and str(missing) in said[0]
    assert not any(tmp_path.iterdir())


def test_a_single_process_writes_nothing(tmp_path):
    check_shared_folder(SINGLE_PROCESS, tmp_path / "not there", TIMEOUT_S)
    assert not any(tmp_path.iterdir())
