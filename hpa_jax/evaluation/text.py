"""Metrics and intervals as the terminal shows them."""

from collections.abc import Mapping


def interval_text(intervals: Mapping, name: str) -> str:
    """' [.123, .456]', or '' where there is none."""
    ends = intervals.get(name)
    if ends is None:
        return ""
    low, high = map(_end, ends)
    return f" [{low}, {high}]"


def _end(value: float) -> str:
    """Three decimals without the 0 before the point, so that a column is as wide for 1.000."""
    text = f"{value:.3f}"
    return text if value >= 0.9995 else text[1:]


def number_text(value: float | None) -> str:
    """Four decimals, or 'undefined'."""
    if value is None:
        return "undefined"
    return f"{value:.4f}"


def intervals_line(report: Mapping) -> str:
    """What the brackets of a report are."""
    units = "images"
    if report["groups"] != report["images"]:
        units = f"{report['groups']} groups of images"
    return (
        f"in brackets: {100 * report['level']:g} % intervals, {report['replicates']} "
        f"bootstrap draws of the {units}"
    )


def temperature_line(report: Mapping) -> str:
    """What a temperature would make of the probabilities."""
    return (
        f"temperature {report['temperature']:.3f}: with it the calibration error is "
        f"{report['calibration_error_tempered']:.4f} (fitted out of fold)"
    )
