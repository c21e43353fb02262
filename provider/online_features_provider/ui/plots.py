"""Plots of runs, as SVG that a page holds: without scripts, in the colours of its theme."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree.ElementTree import Element, SubElement

import pygal
from markupsafe import Markup
from pygal.style import Style

from online_features_provider.ui.rendering import duration, instant, number
from online_features_provider.ui.view_page import Run

LABELS = 6  # on the axis of runs
BARS = 50  # so many runs that each bar can still be hit with a pointer
FONT = "system-ui, sans-serif"
TICKS = 6  # at most, on the axis of lags
TICK_SECONDS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
OUTCOMES = ("written", "stale", "expired", "deleted", "rejected")

SERIES = tuple(f"var(--series-{i})" for i in range(1, 6))  # colours of the page's style
SUCCEEDED_OR_FAILED = ("var(--series-1)", "var(--bad)")


def lag_points(runs: Sequence[Run], now: datetime) -> list[tuple[datetime, float]]:
    """Return instants and the lag of a view at each, in seconds: it grows until a run moves the watermark.

    :param runs: the newest first.
    """
    points: list[tuple[datetime, timedelta]] = []
    watermark = None
    for run in reversed(runs):
        if run.is_failed or run.watermark is None:
            continue
        lag, moved = run.ended - run.watermark, run.moved_watermark
        if watermark is not None:
            points.append((moved, moved - watermark))
        points += [(moved, lag), (run.ended, lag)]
        watermark = run.watermark
    if watermark is not None:
        points.append((now, now - watermark))
    return [(at, max(lag.total_seconds(), 0.0)) for at, lag in points]


def lag_plot(runs: Sequence[Run], objective: timedelta | None, now: datetime) -> Markup:
    """Plot the lag of a view over time against its objective; empty without a watermark."""
    points = lag_points(runs, now)
    if not points:
        return Markup()
    begin, clock = points[0][0], _clock_of(points[0][0], now)
    # Not DateTimeLine, which calls a function that Python 3.12 deprecates.
    plot = pygal.XY(
        **_options("lag", height=280), show_dots=False,
        x_value_formatter=lambda seconds: clock(datetime.fromtimestamp(seconds, UTC)),
        value_formatter=lambda seconds: duration(timedelta(seconds=seconds)),
    )  # fmt: skip
    level = objective.total_seconds() if objective else 0.0
    plot.y_labels = lag_ticks(max(level, *(lag for _, lag in points)))
    plot.add("lag", [(at.timestamp(), lag) for at, lag in points], stroke_style={"width": 2})
    if objective is not None:
        ends = [(at.timestamp(), level) for at in (begin, now)]
        plot.add("objective", ends, stroke_style={"dasharray": "6, 4", "width": 2})
    return _svg(plot, "Lag over time, against the objective")


def rows_plot(runs: Sequence[Run]) -> Markup:
    """Plot the rows of the last runs, by what became of them."""
    shown = list(reversed(runs[:BARS]))
    plot = _bars(shown, "rows read", SERIES)
    for outcome in OUTCOMES:
        counts = [run.record.get(f"rows_{outcome}") or 0 for run in shown]
        if any(counts) or outcome == OUTCOMES[0]:
            plot.add(outcome, list(map(_linked, shown, counts)))
    return _svg(plot, "Rows of the last runs, by outcome")


def seconds_plot(runs: Sequence[Run]) -> Markup:
    """Plot how long the last runs took, failed ones apart."""
    shown = list(reversed(runs[:BARS]))
    plot = _bars(shown, "seconds", SUCCEEDED_OR_FAILED)
    plot.add("succeeded", [_linked(run, 0 if run.is_failed else run.record["seconds"]) for run in shown])
    plot.add("failed", [_linked(run, run.record["seconds"] if run.is_failed else 0) for run in shown])
    return _svg(plot, "Seconds of the last runs, failed ones apart")


def lag_ticks(greatest: float) -> list[float]:
    """Return lags for an axis, in seconds: whole seconds, minutes, hours or days up to the greatest one."""
    step = next((each for each in TICK_SECONDS if greatest / each < TICKS), 0)
    step = step or TICK_SECONDS[-1] * math.ceil(greatest / TICK_SECONDS[-1] / TICKS)
    return [float(step * i) for i in range(math.ceil(greatest / step) + 1)]


def _bars(runs: Sequence[Run], unit: str, colours: Sequence[str]) -> Any:
    plot = pygal.StackedBar(**_options(unit, height=240, colours=colours), value_formatter=number)
    step = max(len(runs) // LABELS, 1)
    clock = _clock_of(runs[0].ended, runs[-1].ended) if runs else str
    plot.x_labels = ["" if i % step else clock(run.ended) for i, run in enumerate(runs)]
    return plot


def _linked(run: Run, value: float) -> dict[str, Any]:
    """Return a bar that leads to the run's line in the table."""
    return {"value": value, "label": f"{instant(run.ended)}, {run.record['outcome']}",
            "xlink": {"href": f"#run-{run.id}", "target": "_self"}}  # fmt: skip


def _style(colours: Sequence[str]) -> Style:
    return Style(
        background="transparent", plot_background="transparent", foreground="var(--text)",
        foreground_strong="var(--text)", foreground_subtle="var(--line)", guide_stroke_color="var(--line)",
        major_guide_stroke_color="var(--line)", font_family=FONT, title_font_family=FONT, legend_font_size=13,
        label_font_size=12, major_label_font_size=12, title_font_size=13, opacity=".9", colors=tuple(colours),
    )  # fmt: skip


def _clock_of(begin: datetime, end: datetime) -> Callable[[datetime], str]:
    """Return a format for instants on an axis: the shorter the axis, the more of the time of the day."""
    span = end - begin
    form = "%H:%M:%S" if span < timedelta(minutes=10) else "%H:%M" if span < timedelta(days=1) else "%m-%d %H:%M"
    return lambda at: f"{at:{form}}"


def _options(unit: str, *, height: int, colours: Sequence[str] = SERIES) -> dict[str, Any]:
    return {
        "style": _style(colours), "js": (), "disable_xml_declaration": True, "width": 1000, "height": height,
        "x_title": "UTC", "y_title": unit, "include_x_axis": True, "show_x_guides": False, "truncate_label": -1,
        "legend_at_bottom": True, "legend_box_size": 12, "truncate_legend": -1, "margin": 8, "margin_bottom": 16,
    }  # fmt: skip


def _svg(plot: Any, title: str) -> Markup:
    """Return the plot, with a title for who does not see it, and one for each value, which browsers show."""

    def with_titles(svg: Element) -> Element:
        svg.set("role", "group")  # it holds links
        svg.set("aria-label", title)
        for parent in list(svg.iter()):
            for script in parent.findall("script"):
                parent.remove(script)
            told = {each.get("class"): each.text for each in parent if each.tag == "desc"}
            if "value" in told:
                SubElement(parent, "title").text = " ".join(filter(None, (told.get("label"), told["value"])))
        return svg

    plot.legend_at_bottom_columns = len(plot.raw_series)
    plot.add_xml_filter(with_titles)
    return Markup(plot.render(is_unicode=True))  # noqa: S704  # pygal escapes all texts
