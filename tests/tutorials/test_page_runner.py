"""What runs the pages' code blocks: it can fail, and it does what a reader would."""

from __future__ import annotations

from pathlib import Path

import pytest
from tutorials.page_runner import BlockError, read_blocks, run_page, sections

PAGE = """\
# A page

```bash
NAME=roses
mkdir there && cd there
```

```python title="there/nets.py"
WIDTH = 3
```

## Two

1. indented:

    ```python
    import os
    width = 4
    ```

```text
not run
```

```python
assert width == 4
print("pid", os.getpid())
```

```bash
[ "$(basename "$PWD")" = there ]
grep -q 'WIDTH = 3' nets.py
echo "$NAME for $PHOTOS"
```
"""


def _page(folder: Path, text: str) -> Path:
    page = folder / "page.md"
    page.write_text(text, encoding="utf-8")
    return page


def test_blocks_share_folder_variables_and_interpreter(tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    folder.mkdir()
    page = _page(tmp_path, PAGE)
    assert [block.line for block in read_blocks(page)] == [3, 8, 16, 21, 25, 30]
    printed = run_page(page, folder, {"PHOTOS": "photos"})
    assert list(printed) == [f"page.md:{line}" for line in (3, 8, 16, 25, 30)]
    assert printed["page.md:30"] == "roses for photos\n"
    assert (folder / "there/nets.py").read_text(encoding="utf-8") == "WIDTH = 3\n"
    assert [(name, len(blocks)) for name, blocks in sections(page)] == [("", 2), ("Two", 4)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```bash\nfalse\ntrue\n```\n", "page.md:1: ended with code 1"),
        ("```bash\necho seen; exit 3\n```\n", "seen"),
        ("\n```python\nassert 1 == 2\n```\n", 'File "page.md", line 3'),
        ("```python\nimport os\nos._exit(9)\n```\n", "the interpreter ended with code 9"),
        ("```bash\nsleep 30\n```\n", "took longer than 1 s"),
    ],
)
def test_a_block_that_fails_fails_the_page(tmp_path: Path, text: str, message: str) -> None:
    page = _page(tmp_path, text)
    with pytest.raises(BlockError) as caught:
        run_page(page, tmp_path, seconds=1.0)
    assert message in str(caught.value)


def test_what_was_left_running_is_ended(tmp_path: Path) -> None:
    page = _page(tmp_path, '```bash\nsleep 300 &\necho "$!" > pid\n```\n')
    run_page(page, tmp_path)
    pid = int((tmp_path / "pid").read_text(encoding="utf-8"))
    state = Path(f"/proc/{pid}/stat")
    assert not state.exists() or state.read_text(encoding="utf-8").split()[2] == "Z"
