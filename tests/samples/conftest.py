import pytest

from geomm.errors import DependencyError
from geomm.samples import make


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Return a function that makes a sample once a session, in a cache of the tests' own."""
    folder = tmp_path_factory.mktemp("cache") / "samples"

    def of(name):
        try:
            return make(name, folder)
        except DependencyError as error:
            pytest.skip(str(error))

    return of
