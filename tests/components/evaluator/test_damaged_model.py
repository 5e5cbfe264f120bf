"""A SavedModel that was not copied whole stops the evaluation by name."""

import os
import shutil

import pytest
from evaluator_samples import save_model

from slimworks.components import contracts
from slimworks.components.errors import DataError
from slimworks.components.evaluator import prediction


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("whole")) / contracts.SAVED_MODEL_FOLDER


@pytest.mark.parametrize("pattern", ["saved_model.pb", "variables/*.data-*", "variables/*.index"])
def test_truncated_file_is_an_error_with_a_fix(whole, tmp_path, pattern):
    model = shutil.copytree(whole, tmp_path / "saved_model")
    (path,) = model.glob(pattern)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(DataError, match=r"saved_model cannot be loaded: ") as raised:
        prediction.load_model(model)
    assert raised.value.fix.startswith("Train the model again")
