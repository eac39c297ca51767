"""What every source promises: the same bytes for a seed, splits that share nothing, sizes that hold."""

import jsonschema
import numpy as np
import pytest

from sparse_continual import registry
from sparse_continual.errors import UserError
from sparse_continual.streams.build import build_mixture, build_stream
from sparse_continual.streams.tasks import SPLITS, concatenate, load_tasks

SMALL = {
    "facts": {"tasks": 2, "people": 8, "employers": 4},
    "rules": {"train_items": 60, "validation_items": 10, "test_items": 20, "length": 5},
    "drift": {"tasks": 2, "train_sequences": 40, "validation_sequences": 8, "test_sequences": 8},
    "text": {"sequence_length": 12, "train_sequences": 20, "validation_sequences": 4, "test_sequences": 4},
    "cl_benchmark": {
        "tasks": ["toy"],
        "train_items": 30,
        "validation_items": 10,
        "test_items": 20,
        "max_tokens": 16,
    },
}
MIXED = ["facts", "rules", "drift", "text"]


@pytest.fixture
def settings_of(benchmark, tmp_path):
    def settings(source):
        extra = {
            "cl_benchmark": {"folder": str(benchmark[0])},
            "text": {"files": [str(tmp_path / "story.txt")]},
        }
        if source == "text":
            rng = np.random.default_rng(0)
            (tmp_path / "story.txt").write_text(" ".join(f"s{i}" for i in rng.integers(0, 100, 800)))
        return {"source": source, **SMALL[source], **extra.get(source, {})}

    return settings


def rows_of(split):
    return [tuple(split.row(i)) for i in range(split.rows)]


def prompts_of(split):
    return {tuple(split.row(i)[: split.answers[i]]) for i in range(split.rows)}


def test_registry_holds_exactly_these():
    assert registry.names("streams.sources") == sorted(SMALL)


@pytest.mark.parametrize("source", SMALL)
def test_same_seed_same_bytes_and_other_seed_other(source, settings_of, words, tmp_path):
    def files(seed, name):
        build_stream(settings_of(source), seed, words, tmp_path / name)
        return {
            p.relative_to(tmp_path / name): p.read_bytes() for p in sorted((tmp_path / name).rglob("*.*"))
        }

    first = files(3, "a")
    assert first == files(3, "b")
    assert first != files(4, "c")


@pytest.mark.parametrize("source", SMALL)
def test_settings_sizes_and_names_hold(source, settings_of, words, tmp_path):
    settings, module = settings_of(source), registry.load("streams.sources", source)
    schema = registry.schema("streams.sources", source)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate({k: v for k, v in settings.items() if k != "source"}, schema)
    module.check(settings)
    tasks = build_stream(settings, 1, words, tmp_path / "s")
    assert [task.name for task in tasks] == module.task_names(settings)
    assert len(module.fingerprint(settings)) == {"text": 1, "cl_benchmark": 3}.get(source, 0)
    for role, made in (("stream", tasks), ("base", None)):
        if role == "base":
            if source not in MIXED:
                continue
            made = build_mixture([settings], 1, words, tmp_path / "b")
        sizes = module.sizes(settings, role)
        for task in made:
            assert len(task.train) <= sizes["train_items"] and len(task.test) <= sizes["test_items"]
            for split in (task.train, task.validation, task.test):
                lengths = np.diff(split.starts)
                assert lengths.max() <= sizes["row_tokens"]
                assert (lengths - split.answers).max() <= sizes["answer_tokens"]
                assert split.answers.min() >= 1 and (split.answers < lengths).all()
                assert source == "cl_benchmark" or words.unk_token_id not in split.tokens
                assert set(split.parts) <= set(range(len(task.parts)))
            assert 0 <= task.chance < task.ceiling <= 1


@pytest.mark.parametrize("source", SMALL)
def test_splits_share_nothing(source, settings_of, words, tmp_path):
    tasks = build_stream(settings_of(source), 1, words, tmp_path / "s")
    if source in MIXED:
        tasks = tasks + build_mixture([settings_of(source)], 1, words, tmp_path / "b")
    # without any context, only the text's and the languages' whole rows tell items apart
    keys = (lambda split: set(rows_of(split))) if source in ("drift", "text") else prompts_of
    for task in tasks:
        train, validation, test = (keys(getattr(task, split)) for split in SPLITS)
        assert not train & validation and not train & test and not validation & test


@pytest.mark.parametrize("source", ["facts", "rules"])
def test_base_never_sees_the_streams_items(source, settings_of, words, tmp_path):
    tasks = build_stream(settings_of(source), 1, words, tmp_path / "s")
    (base,) = build_mixture([settings_of(source)], 1, words, tmp_path / "b")
    seen = set().union(*(prompts_of(getattr(base, split)) for split in SPLITS))
    for task in tasks:
        for split in SPLITS:
            assert not seen & prompts_of(getattr(task, split))


def test_save_and_load(settings_of, words, tmp_path):
    tasks = build_stream(settings_of("facts"), 1, words, tmp_path / "s")
    names = [task.name for task in tasks][::-1]
    for made, read in zip(tasks[::-1], load_tasks(tmp_path / "s", names), strict=True):
        assert (made.name, made.kind, made.parts, made.facts) == (
            read.name,
            read.kind,
            read.parts,
            read.facts,
        )
        for split in SPLITS:
            for key, value in vars(getattr(made, split)).items():
                other = getattr(getattr(read, split), key)
                assert value.dtype == other.dtype and np.array_equal(value, other)
    with pytest.raises(UserError, match="no task 'people_7'.*did you mean"):
        load_tasks(tmp_path / "s", ["people_7"])


def test_mixture_names_and_rows(settings_of, words, tmp_path):
    mixture = [settings_of(source) for source in ("facts", "drift", "facts")]
    tasks = build_mixture(mixture, 1, words, tmp_path / "b")
    assert [task.name for task in tasks] == ["base_facts", "base_drift", "base_facts_2"]
    assert [task.name for task in load_tasks(tmp_path / "b")] == [task.name for task in tasks]
    one = concatenate([task.test for task in tasks])
    assert rows_of(one) == [row for task in tasks for row in rows_of(task.test)]
    assert one.items.tolist() == list(range(len(one))) and len(one) == sum(len(task.test) for task in tasks)
