import pytest


@pytest.fixture(scope="session")
def studies():
    """name -> tables (name -> DataFrame), made once; nothing may change them."""
    from figure_tables import STUDIES

    return {name: make() for name, make in STUDIES.items()}


@pytest.fixture
def full(studies):
    """Ten conditions on six blocks of six tasks."""
    return studies["ten conditions"]
