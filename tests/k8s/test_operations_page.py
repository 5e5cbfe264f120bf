"""A dry walk through docs/operations.md: every command is one that its program takes.

No cluster: the shell parses each block, kubectl's commands are held to the flags of its reference
(1.31), and what is patched or created to what the manifests have.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from manifest_rendering import K8S, ROOT

PAGE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
# command -> flags with a value, flags without
KUBECTL: dict[str, tuple[set[str], set[str]]] = {
    "annotate": (set(), {"--overwrite"}),
    "apply": ({"-f", "-k", "--dry-run"}, {"--server-side"}),
    "config set-context": ({"--namespace"}, {"--current"}),
    "create job": ({"--from"}, set()),
    "create namespace": (set(), set()),
    "create secret": ({"--from-literal", "--dry-run", "--output"}, set()),
    "delete": (set(), set()),
    "describe": ({"--selector"}, set()),
    "diff": ({"-k"}, set()),
    "exec": (set(), {"--stdin"}),
    "get": ({"--output", "--selector"}, set()),
    "label": (set(), {"--overwrite"}),
    "logs": ({"--namespace"}, {"--follow"}),
    "patch": ({"--patch", "--type"}, set()),
    "rollout restart": (set(), set()),
    "rollout status": ({"--timeout"}, set()),
    "scale": ({"--replicas"}, set()),
    "wait": ({"--for", "--timeout"}, {"--all"}),
}
KINDS = {
    "cronjob", "deployment", "job", "jobs", "namespace", "persistentvolumeclaim", "pods", "pvc",
    "statefulset", "volumesnapshot",
}  # fmt: skip


def _blocks() -> list[str]:
    """Blocks of shell, as they stand."""
    blocks = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", PAGE, re.DOTALL | re.MULTILINE)
    plain = [textwrap.dedent(body) for language, body in blocks if language == "bash"]
    return [body for body in plain if re.search(r"^(kubectl|make) ", body, re.MULTILINE)]


def _commands() -> list[list[str]]:
    """Every kubectl command of the page: of its blocks, and of its lines."""
    inline = re.findall(r"`(kubectl [^`]+)`", PAGE)
    found = []
    for text in [*_blocks(), *inline]:
        text = re.sub(r"<<END\n.*?^END$", "", text, flags=re.DOTALL | re.MULTILINE)
        text = text.replace("\\\n", " ")
        lines = [" ".join(text.split())] if text in inline else text.splitlines()
        for line in lines:
            found += [part for part in _parts(_words(line)) if part and part[0] == "kubectl"]
    return found


def _words(line: str) -> list[str]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    return list(lexer)


def _parts(words: list[str]) -> Iterator[list[str]]:
    part: list[str] = []
    for word in words:
        if set(word) <= set("|&;<>"):
            yield part
            part = []
        else:
            part.append(word)
    yield part


def _name(words: list[str]) -> str:
    two = " ".join(words[1:3])
    return two if two in KUBECTL else words[1]


def test_the_shell_takes_every_block() -> None:
    assert len(_blocks()) > 8
    for block in _blocks():
        done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), block


def test_kubectl_takes_every_command() -> None:
    commands = _commands()
    assert len(commands) > 25
    for words in commands:
        assert _name(words) in KUBECTL, words
        assert _wrong_flags(words) == [], words


def _wrong_flags(words: list[str]) -> list[str]:
    """Flags that the command has not, or with a value too much or too few."""
    with_value, without = KUBECTL[_name(words)]
    wrong, rest = [], iter(words)
    for word in rest:
        if word == "--":
            break
        flag, equals, _ = word.partition("=")
        if not flag.startswith("-") or flag == "-":
            continue
        if flag in with_value:
            value = equals or next(rest, "")
            wrong += [] if value else [word]
        elif flag not in without or equals:
            wrong.append(word)
    return wrong


@pytest.mark.parametrize(
    "command",
    ["kubectl scale deployment/serving --replica=0", "kubectl logs --follow=yes job/x",
     "kubectl wait --for"],
)  # fmt: skip
def test_a_flag_that_is_none_is_found(command: str) -> None:
    assert _wrong_flags(shlex.split(command)) != []


def test_what_is_named_by_kind_is_of_a_kind() -> None:
    for words in _commands():
        for word in words[2:]:
            match = re.fullmatch(r"([a-z]+)/[\w-]+", word)
            assert match is None or match[1] in KINDS, word


def test_every_patch_is_one_of_a_field_that_is_there() -> None:
    patched = [words for words in _commands() if words[1] == "patch"]
    assert len(patched) > 3
    for words in patched:
        kind, _, name = words[2].partition("/")
        patch = json.loads(words[words.index("--patch") + 1])
        manifest = _base_manifest(kind, name)
        for key in patch["spec"]:
            assert key in manifest["spec"] or (kind, key) == ("cronjob", "suspend")


def test_every_job_by_hand_is_of_a_cronjob() -> None:
    names = [
        word.partition("=")[2]
        for words in _commands()
        if _name(words) == "create job"
        for word in words
        if word.startswith("--from=")
    ]
    assert len(names) > 4
    for name in names:
        assert _base_manifest(*name.split("/"))


def _base_manifest(kind: str, name: str) -> dict[str, Any]:
    for path in (K8S / "base").rglob("*.yaml"):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            found = (document.get("kind", "").lower(), document.get("metadata", {}).get("name"))
            if found == (kind, name):
                return dict(document)
    raise AssertionError(f"no {kind}/{name} in k8s/base")


def test_what_is_applied_from_the_page_is_of_this_namespace() -> None:
    claims = {
        document["metadata"]["name"]
        for document in yaml.safe_load_all((K8S / "base/storage.yaml").read_text(encoding="utf-8"))
    }
    (text,) = re.findall(r"<<END\n(.*?)^END$", PAGE, re.DOTALL | re.MULTILINE)
    snapshots = list(yaml.safe_load_all(text))
    sources = {one["spec"]["source"]["persistentVolumeClaimName"] for one in snapshots}
    assert sources == claims, "a backup without one of them"
    assert {one["kind"] for one in snapshots} == {"VolumeSnapshot"}
