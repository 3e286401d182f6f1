"""The training report as one HTML file that needs no network: Plotly's script is in it."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final

from sidecar.reports.page import render as render_page

TOP: Final = 15  # features shown
MOST_MISSES: Final = 500  # rows of the page; the JSON has all


def render(report: dict[str, Any], charts: dict[str, Any] | None) -> str:
    """The page of a run's report; `charts` is of `training.charts`, None when nothing was trained.

    Raises ImportError without the `train` extra, which brings Plotly.
    """
    drawn = figures(charts) if charts is not None else {}
    return render_page(
        "page.html",
        package="training",
        scripts=_scripts(drawn),
        report=report,
        charts=charts,
        figures=_inert(drawn),
        gains={} if charts is None else {row["feature"]: row["gain"] for row in charts["importance"]},
        top=TOP,
        most=MOST_MISSES,
    )


def _scripts(drawn: dict[str, Any]) -> tuple[str, ...]:
    sort = files("sidecar.reports").joinpath("table.js").read_text("utf-8")
    if not drawn:
        return (sort,)
    from plotly.offline import get_plotlyjs  # noqa: PLC0415 -- only where plots are drawn

    return (get_plotlyjs(), files("training").joinpath("page.js").read_text("utf-8"), sort)


def _inert(value: Any) -> Any:
    """Plotly reads a few tags in texts: what could begin one becomes an entity."""
    if isinstance(value, str):
        return value.replace("&", "&amp;").replace("<", "&lt;")
    if isinstance(value, dict):
        return {key: _inert(one) for key, one in value.items()}
    return [_inert(one) for one in value] if isinstance(value, list) else value


def figures(charts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Plotly figures by the id of their place; colours are names that the page's script turns into the theme's."""
    return {
        "precision-recall": _precision_recall(charts),
        "calibration": _calibration(charts["calibration"]),
        "tradeoff": _tradeoff(charts),
        "importance": _bars(charts["importance"][:TOP], "gain", "share of the gain"),
        "label-rate": _label_rate(charts["label_weeks"], charts["weeks"]),
        "score-drift": _score_drift(charts["weeks"]),
        "stability": _bars(charts["drift"][:TOP], "index", "population stability index", limits=(0.1, 0.25)),
        "by-severity": _groups(charts["by_severity"]),
        "by-domain": _groups(charts["by_domain"][:TOP]),
    }


def _figure(traces: list[dict[str, Any]], x: str, y: str, **layout: Any) -> dict[str, Any]:
    axes = {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}}
    for name, axis in layout.items():
        axes[name] = {**axes.get(name, {}), **axis} if isinstance(axis, dict) else axis
    return {"data": traces, "layout": axes}


def _line(name: str, x: list[Any], y: list[Any], colour: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "lines", "name": name, "x": x, "y": y, "line": {"color": colour, "width": 2}, **more
    }  # fmt: skip


def _upright(at: float, text: str) -> dict[str, Any]:
    """A threshold, as a dashed line with its name."""
    line = {
        "type": "line", "x0": at, "x1": at, "yref": "paper", "y0": 0, "y1": 1, "line": {"color": "soft", "dash": "dash", "width": 1}
    }  # fmt: skip
    note = {"x": at, "yref": "paper", "y": 1, "text": text, "showarrow": False, "xanchor": "right", "yanchor": "bottom"}
    return {"shapes": [line], "annotations": [note]}


def _precision_recall(charts: dict[str, Any]) -> dict[str, Any]:
    points = charts["precision_recall"]
    hover = "score ≥ %{customdata:.3f}<br>precision %{y:.1%}, recall %{x:.1%}<extra></extra>"
    curve = _line(
        "precision", [p["recall"] for p in points], [p["precision"] for p in points], "accent",
        customdata=[p["threshold"] for p in points], hovertemplate=hover, showlegend=False,
    )  # fmt: skip
    axis = {"range": [0, 1.02], "tickformat": ".0%"}
    return _figure([curve], "recall of false positives", "precision", xaxis=axis, yaxis=axis)


def _calibration(bins: list[dict[str, Any]]) -> dict[str, Any]:
    shares = [one["false"] for one in bins]
    scores = [one["mean_score"] for one in bins]
    points = {
        "type": "scatter", "mode": "lines+markers", "name": "what came", "x": scores, "y": [s["share"] for s in shares],
        "line": {"color": "accent"}, "customdata": [s["trials"] for s in shares],
        "error_y": {"type": "data", "symmetric": False, "array": [s["high"] - s["share"] for s in shares],
                    "arrayminus": [s["share"] - s["low"] for s in shares], "thickness": 1, "color": "accent"},
        "hovertemplate": "score %{x:.2f}: %{y:.1%} false, of %{customdata}<extra></extra>",
    }  # fmt: skip
    counts = {
        "type": "bar", "name": "episodes", "yaxis": "y2", "x": [(one["low"] + one["high"]) / 2 for one in bins],
        "y": [s["trials"] for s in shares], "width": 0.09, "marker": {"color": "faint"}, "hoverinfo": "y+name",
    }  # fmt: skip
    ideal = _line("ideal", [0, 1], [0, 1], "soft", hoverinfo="skip")
    ideal["line"] |= {"dash": "dot", "width": 1}
    right = {
        "overlaying": "y",
        "side": "right",
        "title": {"text": "episodes"},
        "showgrid": False,
        "rangemode": "tozero",
    }
    found = _figure(
        [counts, ideal, points], "mean score", "share of false positives",
        xaxis={"range": [0, 1], "tickformat": ".1f"}, yaxis={"range": [0, 1.02], "tickformat": ".0%"},
    )  # fmt: skip
    # The bars lie on the left axis' plane, below the points: Plotly draws an overlaying axis on top.
    found["layout"]["yaxis2"] = right
    found["layout"]["yaxis"] |= {"overlaying": "y2"}
    del right["overlaying"]
    return found


def _tradeoff(charts: dict[str, Any]) -> dict[str, Any]:
    steps = charts["tradeoff"]
    x = [one["threshold"] for one in steps]
    hover = "%{y} of %{customdata} at %{x:.2f}"
    left = _line(
        "false interruptions left", x, [one["false_left"] for one in steps], "accent",
        customdata=[one["false"] for one in steps], hovertemplate=hover,
    )  # fmt: skip
    lost = _line(
        "real incidents lost", x, [one["lost"] for one in steps], "bad", yaxis="y2",
        customdata=[one["real"] for one in steps], hovertemplate=hover,
    )  # fmt: skip
    right = {
        "overlaying": "y", "side": "right", "title": {"text": "incidents lost"}, "showgrid": False, "rangemode": "tozero"
    }  # fmt: skip
    here = f"{charts['threshold']:.2f}"
    return _figure(
        [left, lost], "threshold", "false interruptions left", xaxis={"range": [0, 1]}, yaxis={"rangemode": "tozero"},
        yaxis2=right, hovermode="x unified", **_upright(charts["threshold"], here),
    )  # fmt: skip


def _bars(rows: list[dict[str, Any]], value: str, title: str, limits: tuple[float, ...] = ()) -> dict[str, Any]:
    lines = [
        {"type": "line", "x0": at, "x1": at, "yref": "paper", "y0": 0, "y1": 1, "line": {"color": "soft", "dash": "dash", "width": 1}}
        for at in limits
    ]  # fmt: skip
    trace = {
        "type": "bar", "orientation": "h", "x": [row[value] for row in rows], "y": [row["feature"] for row in rows],
        "marker": {"color": "accent"}, "hovertemplate": "%{y}: %{x:.3f}<extra></extra>", "showlegend": False,
    }  # fmt: skip
    form = {"tickformat": ".0%"} if value == "gain" else {}
    return _figure([trace], title, "", xaxis=form, yaxis={"autorange": "reversed", "automargin": True}, shapes=lines)


def _days(rows: list[dict[str, Any]]) -> list[str]:
    return [datetime.fromtimestamp(row["from"], UTC).strftime("%Y-%m-%d") for row in rows]


def _label_rate(rows: list[dict[str, Any]], scored: list[dict[str, Any]]) -> dict[str, Any]:
    x, shares = _days(rows), [row["false"] for row in rows]
    points = {
        "type": "scatter", "mode": "lines+markers", "name": "labelled false", "x": x, "y": [s["share"] for s in shares],
        "line": {"color": "accent"}, "customdata": [s["trials"] for s in shares],
        "error_y": {"type": "data", "symmetric": False, "array": [s["high"] - s["share"] for s in shares],
                    "arrayminus": [s["share"] - s["low"] for s in shares], "thickness": 1, "color": "accent"},
        "hovertemplate": "week of %{x}: %{y:.1%} of %{customdata}<extra></extra>",
    }  # fmt: skip
    score = _line("mean score", _days(scored), [row["mean_score"] for row in scored], "bad", mode="lines+markers")
    score["line"]["dash"] = "dot"
    return _figure([points, score], "", "share, score", xaxis=_WEEKS, yaxis={"range": [0, 1.02], "tickformat": ".0%"})


_WEEKS: Final = {"type": "category", "tickangle": 0}


def _score_drift(rows: list[dict[str, Any]]) -> dict[str, Any]:
    x = _days(rows)
    names = {"0.9": ("90 % below", "soft"), "0.5": ("median", "accent"), "0.1": ("10 % below", "soft")}
    traces = [
        _line(name, x, [row["quantiles"][q] for row in rows], colour, mode="lines+markers")
        for q, (name, colour) in names.items()
    ]
    return _figure(traces, "", "score", xaxis=_WEEKS, yaxis={"range": [0, 1.02]})


def _groups(rows: list[dict[str, Any]]) -> dict[str, Any]:
    x = [row["name"] or "(none)" for row in rows]
    parts = (
        ("false", "false_", "accent"),
        ("false suppressed", "suppressed", "good"),
        ("real hidden", "hidden", "bad"),
    )
    traces = [_bar(label, x, [row[key.rstrip("_")] for row in rows], colour) for label, key, colour in parts]
    axis = {"range": [0, 1.02], "tickformat": ".0%"}
    return _figure(traces, "", "share", barmode="group", xaxis={"type": "category"}, yaxis=axis)


def _bar(name: str, x: list[str], shares: list[dict[str, Any]], colour: str) -> dict[str, Any]:
    return {
        "type": "bar", "name": name, "x": x, "y": [s["share"] for s in shares], "marker": {"color": colour},
        "customdata": [[s["hits"], s["trials"]] for s in shares],
        "error_y": {"type": "data", "symmetric": False, "array": [s["high"] - (s["share"] or 0.0) for s in shares],
                    "arrayminus": [(s["share"] or 0.0) - s["low"] for s in shares], "thickness": 1, "color": "soft"},
        "hovertemplate": name + ": %{y:.1%} (%{customdata[0]} of %{customdata[1]})<extra></extra>",
    }  # fmt: skip
