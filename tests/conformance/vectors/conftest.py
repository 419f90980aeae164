"""The cases, read once."""

import pytest

from conformance.vectors.folder import Header, folder, selected
from conformance.vectors.lines import Case

Families = dict[str, tuple[Header, list[Case]]]


@pytest.fixture(scope="session")
def families() -> Families:
    return {str(header["family"]): (header, cases) for header, cases in selected(folder())}
