"""Charts as Vega-Lite specifications: plain dictionaries, made of numbers and our own words only."""

from collections.abc import Sequence
from typing import Any

from blockscan.store_schema import SEVERITIES

# Dark enough for white text on them; apart in hue and lightness, and always beside the word.
SEVERITY_COLOURS = {"critical": "#8f1d3f", "high": "#cf4a4f", "medium": "#b9770e", "low": "#5587b0"}
_BAR = "#5b7fa6"
_ALARM = "#d1495b"
_HEIGHT = 240


def p_value_histogram(counts: Sequence[int], alarm_level: float | None) -> dict[str, Any]:
    """P-values in equal bins over 0 to 1, beside the flat line that ordinary transactions follow."""
    width = 1 / len(counts)
    bars = [
        {"from": place * width, "to": (place + 1) * width, "transactions": count}
        for place, count in enumerate(counts)
    ]
    position = {"field": "from", "type": "quantitative", "title": "p-value", "scale": {"domain": [0, 1]}}
    layers: list[dict[str, Any]] = [
        {
            "mark": {"type": "bar", "color": _BAR, "tooltip": True, "binSpacing": 1},
            "encoding": {
                "x": position | {"bin": {"binned": True, "step": width}},
                "x2": {"field": "to"},
                "y": {"field": "transactions", "type": "quantitative", "title": "transactions"},
            },
        },
        {
            "data": {"values": [{"level": sum(counts) / len(counts)}]},
            "mark": {"type": "rule", "strokeDash": [6, 4], "color": "gray"},
            "encoding": {"y": {"field": "level", "type": "quantitative"}},
        },
    ]
    if alarm_level is not None:
        layers.append(
            {
                "data": {"values": [{"alarm": alarm_level}]},
                "mark": {"type": "rule", "color": _ALARM, "strokeWidth": 2},
                "encoding": {"x": {"field": "alarm", "type": "quantitative"}},
            }
        )
    return {"height": _HEIGHT, "data": {"values": bars}, "layer": layers}


def alerts_over_time(timeline: Sequence[tuple[int, str, int]], period: int) -> dict[str, Any]:
    """Alerts per hour or day of chain time (UTC), stacked by severity."""
    values = [
        {"start": start * 1000, "severity": severity, "rank": SEVERITIES.index(severity), "alerts": count}
        for start, severity, count in timeline
    ]
    unit, form = (
        ("utcyearmonthdatehours", "%d %b %H:%M") if period < 86_400 else ("utcyearmonthdate", "%d %b %Y")
    )
    axis = {"title": "chain time (UTC)", "format": form, "labelOverlap": True}
    scale = {"domain": list(SEVERITIES), "range": [SEVERITY_COLOURS[name] for name in SEVERITIES]}
    return {
        "height": _HEIGHT,
        "data": {"values": values},
        "mark": {"type": "bar", "tooltip": True, "binSpacing": 1},
        "encoding": {
            "x": {"field": "start", "type": "temporal", "timeUnit": unit, "axis": axis},
            "y": {"field": "alerts", "type": "quantitative", "title": "alerts", "axis": {"tickMinStep": 1}},
            "color": {
                "field": "severity",
                "type": "nominal",
                "scale": scale,
                "legend": {"orient": "top", "title": None},
            },
            "order": {"field": "rank", "type": "quantitative"},
        },
    }
