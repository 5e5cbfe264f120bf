"""Cron: what people write, what the schedulers get, words and next times."""

from __future__ import annotations

import datetime
import itertools
from pathlib import Path

import numpy as np
import pytest
import yaml
from refusals import refusal, slimworks

from slimworks.components.errors import ConfigError
from slimworks.pipeline.kubeflow.cron import Cron, parse_cron

UTC = datetime.timezone.utc
NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=UTC)  # a Thursday


def next_times(text: str, after: datetime.datetime = NOON, count: int = 3) -> list[str]:
    return [f"{t:%a %Y-%m-%d %H:%M}" for t in parse_cron(text).next_times(after, count)]


@pytest.mark.parametrize(
    ("text", "six_fields", "words"),
    [
        ("30 3 * * mon", "0 30 3 * * 1", "every Monday at 03:30 UTC"),
        ("0 3 * * *", "0 0 3 * * *", "every day at 03:00 UTC"),
        ("@daily", "0 0 0 * * *", "every day at 00:00 UTC"),
        ("0 9,17 * * mon-fri", "0 0 9,17 * * 1,2,3,4,5",
         "every Monday, Tuesday, Wednesday, Thursday and Friday at 09:00 and 17:00 UTC"),
        ("*/15 * * * *", "0 0,15,30,45 * * * *",
         "every day every hour at minute 0, 15, 30 and 45 UTC"),
        ("0 0 1 */3 *", "0 0 0 1 1,4,7,10 *",
         "day 1 of the month in January, April, July and October at 00:00 UTC"),
        ("0 0 * * 7", "0 0 0 * * 0", "every Sunday at 00:00 UTC"),
        ("0 0 * * sat-sun", "0 0 0 * * 0,6", "every Sunday and Saturday at 00:00 UTC"),
        ("0 0 13 * FRI", "0 0 0 13 * 5", "day 13 of the month and every Friday at 00:00 UTC"),
        ("* * * * *", "0 * * * * *", "every day every minute UTC"),
        ("0 0-23/2 * * *", "0 0 0,2,4,6,8,10,12,14,16,18,20,22 * * *",
         "every day at minute 0 of hour 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20 and 22 UTC"),
    ],
)  # fmt: skip
def test_five_fields_become_six_and_words(text: str, six_fields: str, words: str) -> None:
    cron = parse_cron(text)
    assert cron.six_fields() == six_fields
    assert cron.words() == words
    assert parse_cron(cron.five_fields()) == cron, "what is sent means the same"


def test_next_times_are_in_order_and_after_the_moment() -> None:
    assert next_times("0 12 * * *") == [
        "Fri 2026-01-02 12:00",
        "Sat 2026-01-03 12:00",
        "Sun 2026-01-04 12:00",
    ]
    assert next_times("30 3 * * mon", count=2) == ["Mon 2026-01-05 03:30", "Mon 2026-01-12 03:30"]
    assert next_times("59 23 31 12 *", count=1) == ["Thu 2026-12-31 23:59"]


def test_leap_days_are_found_across_a_century() -> None:
    moment = datetime.datetime(2096, 3, 1, tzinfo=UTC)
    assert next_times("0 0 29 2 *", moment, 1) == ["Fri 2104-02-29 00:00"]


def test_a_moment_of_another_time_zone_is_the_same_moment() -> None:
    tokyo = datetime.timezone(datetime.timedelta(hours=9))
    assert parse_cron("0 * * * *").next_times(NOON.astimezone(tokyo)) == parse_cron(
        "0 * * * *"
    ).next_times(NOON)


def test_either_kind_of_day_starts_it_where_both_are_given() -> None:
    assert next_times("0 0 13 * fri") == [
        "Fri 2026-01-02 00:00",
        "Fri 2026-01-09 00:00",
        "Tue 2026-01-13 00:00",
    ]


def _is_time_of(cron: Cron, moment: datetime.datetime) -> bool:
    """crontab(5), minute by minute: what the quick search must agree with."""
    minutes, hours, days, months, weekdays = cron.values
    day, weekday = moment.day in days, (moment.weekday() + 1) % 7 in weekdays
    both = day and weekday if cron.is_any[2] or cron.is_any[4] else day or weekday
    return moment.minute in minutes and moment.hour in hours and moment.month in months and both


def test_random_expressions_agree_with_a_walk_through_every_minute() -> None:
    random = np.random.default_rng(7)

    def field(low: int, high: int) -> str:
        first, last = sorted(random.integers(low, high + 1, 2).tolist())
        step = int(random.integers(1, 6))
        forms = ["*", str(first), f"{first}-{last}", f"{first}-{last}/{step}", f"{first},{last}"]
        return str(random.choice(forms))

    for _ in range(30):
        # The last weekday, 7, is Sunday again; months are open, so that something comes soon.
        parts = [field(0, 59), field(0, 23), field(1, 28), "*", field(0, 7)]
        cron = parse_cron(" ".join(parts))
        walk = (NOON + datetime.timedelta(minutes=i) for i in range(1, 40 * 24 * 60))
        expected = list(itertools.islice((m for m in walk if _is_time_of(cron, m)), 3))
        assert cron.next_times(NOON)[: len(expected)] == expected, parts
        assert parse_cron(cron.five_fields()) == cron, parts


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("0 3 * *", "--cron '0 3 * *' has 4 fields, expected 5."),
        ("0 0 3 * * *", "--cron '0 0 3 * * *' has 6 fields, expected 5. Kubeflow's own have six, "
         "seconds first; here seconds are always 0."),
        ("@fortnightly", "--cron '@fortnightly' has 1 fields, expected 5."),
        ("60 3 * * *", "--cron '60 3 * * *': '60' is no minute, expected 0 to 59, lists (1,2), "
         "ranges (1-5) or steps (*/5)."),
        ("0 3 * * moon", "--cron '0 3 * * moon': 'moon' is no day of the week, expected 0 to 7 or "
         "sun to sat, lists (1,2), ranges (1-5) or steps (*/5)."),
        ("0 5-3 * * *", "--cron '0 5-3 * * *': '5-3' is no hour, expected 0 to 23, lists (1,2), "
         "ranges (1-5) or steps (*/5)."),
        ("*/0 * * * *", "--cron '*/0 * * * *': '*/0' is no minute, expected 0 to 59, lists (1,2), "
         "ranges (1-5) or steps (*/5)."),
        ("0 0 L * *", "--cron '0 0 L * *': 'L' is no day of the month, expected 1 to 31, lists "
         "(1,2), ranges (1-5) or steps (*/5)."),
        ("0 0 30 2 *", "--cron '0 0 30 2 *' never comes: no month has such a day."),
    ],
)  # fmt: skip
def test_expressions_that_mean_nothing(text: str, cause: str) -> None:
    assert refusal(ConfigError, parse_cron, text) == (
        cause,
        'Write five fields, minute first: --cron "30 3 * * mon" is Mondays at 03:30 UTC.',
    )


def test_an_expression_that_programs_read_differently() -> None:
    assert refusal(ConfigError, parse_cron, "0 0 */7 * mon") == (
        "--cron '0 0 */7 * mon' gives both kinds of day, one with */: programs read that "
        "differently.",
        "Write the days as a list: 1,8,15,22,29.",
    )


# --- A CronJob of Kubernetes ------------------------------------------------------------------


def test_the_same_schedule_as_a_cronjob(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "cronjob.yaml"
    settings = [
        "kubeflow.steps.trainer={cpu: '4', memory: 8Gi, gpus: 1, retries: 1, "
        "timeout_seconds: 7200, tolerations: [{key: gpu, operator: Exists}]}",
        "kubeflow.secrets=[{name: s3, env: {key: AWS_SECRET_ACCESS_KEY}}]",
    ]
    assert (
        slimworks(
            "schedule", "--cron", "30 3 * * sun", "--data", "/workspace/flower photos",
            "--image", "registry.example/slimworks:1", "--window", "4", "--output", output,
            "--namespace", "ml", *(part for text in settings for part in ("--set", text)),
        )
        == 0
    )  # fmt: skip
    assert "every Sunday at 03:30 UTC\nnext: Sun " in capsys.readouterr().out
    config_map, cronjob = yaml.safe_load_all(output.read_text(encoding="utf-8"))
    spec = cronjob["spec"]
    assert (spec["schedule"], spec["timeZone"]) == ("30 3 * * 0", "Etc/UTC")
    assert (spec["concurrencyPolicy"], spec["startingDeadlineSeconds"]) == ("Forbid", 600)
    job = spec["jobTemplate"]["spec"]
    assert job["backoffLimit"] == 1
    _, rule = job["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["values"] == [2, 3, 4, 5, 10]
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never", "podFailurePolicy asks for it"
    assert pod["activeDeadlineSeconds"] == 7200
    (container,) = pod["containers"]
    assert container["resources"] == {
        "requests": {"cpu": "4", "memory": "8Gi"},
        "limits": {"memory": "8Gi", "nvidia.com/gpu": "1"},
    }
    assert container["env"][1]["valueFrom"]["secretKeyRef"] == {"name": "s3", "key": "key"}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    config = yaml.safe_load(config_map["data"]["pipeline.yaml"])
    assert config["data"]["source"] == "/workspace/flower photos"
    assert config["data"]["window"] == 4
    assert {config_map["metadata"]["namespace"], cronjob["metadata"]["namespace"]} == {"ml"}


@pytest.mark.parametrize(
    ("settings", "cause", "fix"),
    [
        (["push.base_path=/models"],
         "push.base_path is /models: no volume is mounted there, only the workspace /workspace.",
         "Name its claim: kubeflow.models_claim; or leave out push.base_path."),
        (["kubeflow.models_claim=models"],
         "kubeflow.models_claim is models, and models are published to the workspace.",
         "Set push.base_path to where it is to be mounted, or leave it out."),
        (["kubeflow.models_claim=models", "push.base_path=/workspace/served"],
         "kubeflow.models_claim is models, and models are published to /workspace/served.",
         "Set push.base_path to where it is to be mounted, or leave it out."),
    ],
)  # fmt: skip
def test_a_folder_of_models_has_a_claim(
    tmp_path: Path, settings: list[str], cause: str, fix: str
) -> None:
    told = refusal(
        ConfigError, slimworks, "schedule", "--cron", "@daily", "--data", "/workspace/photos",
        "--output", tmp_path / "cronjob.yaml", *(p for s in settings for p in ("--set", s)),
    )  # fmt: skip
    assert told == (cause, fix)


def test_a_cronjob_without_data(tmp_path: Path) -> None:
    output = tmp_path / "cronjob.yaml"
    told = refusal(ConfigError, slimworks, "schedule", "--cron", "@daily", "--output", output)
    assert told[0] == "No data: data.source is not set."
