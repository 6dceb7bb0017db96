"""The Grafana dashboard and the alerts query metrics and labels that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from relay.core.delivery.reasons import REASONS
from relay.telemetry import metrics

ROOT = Path(__file__).parents[2]
_DATABASE_METRICS = {
    "push_relay_build_info": {"version", "python"},
    "push_relay_database_up": set(),
    "push_relay_credentials": {"state"},
    "push_relay_nodes": {"state"},
    "push_relay_clock_skew_seconds": set(),
    "push_relay_queue_batches": {"state", "size"},
    "push_relay_queue_installations": {"state", "size"},
    "push_relay_queue_oldest_due_seconds": set(),
    "push_relay_queue_waiting": {"what"},
}
"""The metrics that are read from the database. tests/end_to_end/test_metrics.py tests their presence."""
PROMETHEUS_METRICS = {"up": {"job", "instance"}}


def labels_by_series() -> dict[str, set[str]]:
    """Return the labels of every series by its name."""
    series = {**_DATABASE_METRICS, **PROMETHEUS_METRICS}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            labels = set(metric._labelnames)
            match family.type:
                case "counter":
                    series[f"{family.name}_total"] = labels
                case "histogram":
                    series |= {f"{family.name}{end}": labels for end in ("_sum", "_count")}
                    series[f"{family.name}_bucket"] = labels | {"le"}
                case _:
                    series[family.name] = labels
    return series


def alerts() -> list[dict[str, Any]]:
    document = yaml.safe_load((ROOT / "config" / "prometheus-alerts.yml").read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    document = json.loads((ROOT / "config" / "grafana-dashboard.json").read_text(encoding="utf-8"))
    return [panel for panel in document["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[Any]:
    for rule in alerts():
        yield pytest.param(rule["expr"], id=rule["alert"])
    for panel in panels():
        for target in panel["targets"]:
            expression = target["expr"].replace("$__rate_interval", "5m")  # Grafana fills it in
            yield pytest.param(expression, id=f"{panel['title']}, {target['refId']}")


def parts(node: Any) -> Iterator[Any]:
    """Yield an expression and all of its parts."""
    yield node
    for name in ("lhs", "rhs", "expr", "param", "vector_selector"):
        if (child := getattr(node, name, None)) is not None:
            yield from parts(child)
    for child in getattr(node, "args", []):
        yield from parts(child)


@pytest.mark.parametrize("expression", list(expressions()))
def test_an_expression_queries_metrics_and_labels_that_exist(expression: str) -> None:
    series = labels_by_series()
    labels: set[str] = set()
    grouped: set[str] = set()
    for part in parts(promql_parser.parse(expression)):
        if isinstance(part, promql_parser.VectorSelector):
            assert part.name in series
            matchers = part.matchers.matchers
            assert {matcher.name for matcher in matchers} <= series[part.name]
            for matcher in matchers:
                if matcher.name == "reason":
                    assert set(matcher.value.split("|")) <= REASONS
            labels |= series[part.name]
        elif isinstance(part, promql_parser.AggregateExpr) and part.modifier is not None:
            grouped |= set(part.modifier.labels)
    assert labels or "push_relay_" in expression or expression.startswith("up")
    assert grouped <= labels, "it is grouped by labels of its series"


def test_every_metric_is_on_the_dashboard() -> None:
    shown = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    for name in labels_by_series():
        family = re.sub(r"_(total|bucket|sum|count)$", "", name)
        assert name in PROMETHEUS_METRICS or family in shown, name


def test_every_metric_has_our_prefix_and_no_label_that_grows() -> None:
    for name, labels in labels_by_series().items():
        if name not in PROMETHEUS_METRICS:
            assert name.startswith("push_relay_")
            assert not labels & {
                "app",
                "app_id",
                "push_id",
                "token",
                "token_id",
                "customer",
                "bundle_id",
                "team",
            }


def test_every_alert_leads_to_a_heading_of_the_runbook() -> None:
    text = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for rule in alerts():
        file, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert file == "docs/operating.md"
        assert anchor in anchors, rule["alert"]
