from pathlib import Path

import pytest
from evaluator_samples import coloured_records, save_model, write_examples


@pytest.fixture(scope="session")
def examples_dir(tmp_path_factory):
    return write_examples(tmp_path_factory.mktemp("examples"), coloured_records())


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def baseline_dir(tmp_path_factory) -> Path:
    return save_model(tmp_path_factory.mktemp("baseline"), bias=(1.0, 0.0, 0.0))
