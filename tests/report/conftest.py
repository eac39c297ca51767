import pytest


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """(folder of results, facts) of a made-up study with a claim for every verdict."""
    import made_up

    facts = made_up.facts()
    return made_up.results(tmp_path_factory.mktemp("study") / "made-up", facts), facts


@pytest.fixture(scope="session")
def pages(study, tmp_path_factory):
    """Language -> (page, extract, LaTeX) of that study, as paths."""
    import made_up

    from sparse_continual.report.render import write

    root, facts = study
    found = {}
    for language in ("en", "zh"):
        folder = root / f"report_{language}"
        found[language] = [folder / name for name in ("report.html", "findings.md", "primary.tex")]
        write(root, facts | {"language": language}, *found[language], made_up.ENVIRONMENT)
    return found
