"""Parses the alerts by Prometheus' own promtool and plays them: `make check-alerts`.

python tests/k8s/check_alerts.py PROMTOOL
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml
from manifest_rendering import K8S

ALERTS = sorted(K8S.rglob("alerts.yaml"))
CASES = Path(__file__).with_name("alert_cases.yaml")


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0 where every expression parses and every alert fires when it should."""
    (promtool,) = sys.argv[1:] if argv is None else argv
    with tempfile.TemporaryDirectory() as folder:
        rules, cases = Path(folder) / "rules.yaml", Path(folder) / "cases.yaml"
        specs = [yaml.safe_load(path.read_text(encoding="utf-8"))["spec"] for path in ALERTS]
        groups = [group for spec in specs for group in spec["groups"]]
        rules.write_text(yaml.safe_dump({"groups": groups}), encoding="utf-8")
        cases.write_text(CASES.read_text(encoding="utf-8"), encoding="utf-8")
        for command in (["check", "rules", "--lint-fatal", rules], ["test", "rules", cases]):
            code = subprocess.run([promtool, *map(str, command)], check=False).returncode
            if code:
                return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
