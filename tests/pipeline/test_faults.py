"""What a user is told of a fault that is no SlimWorksError."""

from __future__ import annotations

import errno

import pytest

from slimworks.components.errors import ConfigError, DataError
from slimworks.pipeline.launcher import describe_fault, error_lines


def _raised(fault: Exception, during: Exception | None = None) -> Exception:
    """The fault as Beam raises it: while another one is handled, without `from`."""
    try:
        try:
            if during is not None:
                raise during
        except Exception:
            raise fault  # noqa: B904
        raise fault
    except Exception as caught:
        return caught


def test_an_error_for_users_is_found_below_beams_own() -> None:
    fault = _raised(RuntimeError("[while running Check]"), DataError("a.jpg is bad.", "Mend it."))
    described = describe_fault(fault)
    assert (described["cause"], described["fix"]) == ("a.jpg is bad.", "Mend it.")
    assert described["exit_code"] == 3


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "Make room, then run again: finished steps are kept."),
        (errno.EACCES, "Change the permission, or write to another folder."),
        (errno.ENOTDIR, "Give another path: a part of this one is a file, not a folder."),
        (errno.EROFS, "Change the permission, or write to another folder."),
        (errno.EMFILE, "Raise the limit of open files (ulimit -n 4096), then run again."),
    ],
)
def test_what_the_machine_lacks_is_named_with_its_fix(number: int, advice: str) -> None:
    lack = OSError(number, "it is so", "/runs/file")
    for fault in (lack, _raised(RuntimeError("[while running Write]"), lack)):
        described = describe_fault(fault)
        assert described["cause"] == "it is so: /runs/file."
        assert described["fix"] == advice
        assert described["exit_code"] == 2


def test_tensorflow_out_of_room_is_no_fault_of_ours() -> None:
    import tensorflow as tf

    described = describe_fault(tf.errors.ResourceExhaustedError(None, None, "no space left"))
    assert described["fix"] == "Make room on the disk, or lower train.batch_size, then run again."
    assert described["exit_code"] == 2


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("mysql_query failed: database or disk is full query: INSERT", "No space left for ML"),
        ("file is not a database", "metadata.sqlite in the run root is damaged"),
        ("OSError: [Errno 28] No space left on device [while running 'Write']", "No space left"),
    ],
)
def test_faults_that_come_as_text_are_named(text: str, cause: str) -> None:
    described = describe_fault(RuntimeError(text))
    assert cause in described["cause"]
    assert "run again" in described["fix"]
    assert described["exit_code"] == 2


@pytest.mark.parametrize(
    "text",
    [
        "sqlite3.OperationalError: attempt to write a readonly database",
        "Cannot connect sqlite3 database: unable to open database file",
        "OSError: [Errno 30] Read-only file system [while running 'Write']",
    ],
)
def test_folders_that_cannot_be_written_are_named_where_they_come_as_text(text: str) -> None:
    described = describe_fault(RuntimeError(text))
    assert described["fix"] == "Change the permission, or write to another folder."
    assert described["exit_code"] == 2


def test_anything_else_is_a_fault_of_slimworks() -> None:
    described = describe_fault(FileNotFoundError(errno.ENOENT, "No such file", "/x"))
    assert described["exit_code"] == 1
    assert "fault of SlimWorks" in described["fix"]


def test_an_error_that_was_dealt_with_does_not_hide_a_later_one() -> None:
    fault = ValueError("a bug")
    fault.__context__ = DataError("dealt with.", "Nothing.")
    fault.__suppress_context__ = True  # raised `from None`
    assert describe_fault(fault)["cause"] == "ValueError: a bug"


def test_details_of_an_error_stand_between_cause_and_fix() -> None:
    error = describe_fault(ConfigError("It does not fit.", "Take another.", "missing (1):\n  a"))
    assert error["details"] == "missing (1):\n  a"
    assert error_lines(error) == [
        "Error: It does not fit.",
        "missing (1):",
        "  a",
        "Fix:   Take another.",
    ]


def test_error_without_details_is_two_lines() -> None:
    error = describe_fault(ConfigError("It does not fit.", "Take another."))
    assert "details" not in error
    assert error_lines(error) == ["Error: It does not fit.", "Fix:   Take another."]
