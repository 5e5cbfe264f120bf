"""The TF-Slim primer, followed literally."""

from __future__ import annotations

from pathlib import Path

import pytest
from tutorials.page_runner import ROOT, PageRunner, read_blocks, run_page

PAGE = ROOT / "docs/tutorials/slim-primer.md"


@pytest.mark.slow
def test_what_the_primer_shows_of_tf_slim_runs(tmp_path: Path) -> None:
    """Its Python up to the network, in one interpreter."""
    first_run = next(block for block in read_blocks(PAGE) if "slimworks run" in block.text)
    with PageRunner(tmp_path) as runner:
        for block in read_blocks(PAGE):
            is_shown = block.language == "python" and "json" not in block.text
            if is_shown and block.line < first_run.line:
                runner.do(block)
    assert (tmp_path / "vgg_primer.py").is_file()


@pytest.mark.big
@pytest.mark.timeout(1800)
def test_the_primer_works_as_it_is_written(tmp_path: Path) -> None:
    printed = run_page(PAGE, tmp_path, {"PHOTOS": ""})
    everything = "".join(printed.values())
    assert "138,357,544 trainable parameters" in everything
    mistake = "vgg_mistake:vgg_16 raises ValueError while it is built for 224x224 pixels"
    assert mistake in everything
    assert (tmp_path / "frozen.pb").is_file()
