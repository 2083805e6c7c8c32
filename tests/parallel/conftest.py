import pytest
from support.process_jobs import Job


@pytest.fixture
def job(compilation_cache, small_run):
    """Starts the processes of a run; see support.process_jobs.Job."""
    jobs = []

    def make(folder, count, *flags, **options):
        jobs.append(Job(compilation_cache, folder, count, *small_run, *flags, **options))
        return jobs[-1]

    yield make
    for one in jobs:
        one.kill()
