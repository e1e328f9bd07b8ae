"""Figures: what ./dev bench writes, one object for each, always with the same keys.

name       unique
value      the median over the runs; null when it was not measured
unit       of value, min and max
ratio_to   the name of the figure that it is compared with, or null. "not measured: REASON" when value is null.
ratio      value / that figure's value; for pairs that were measured in turn, the median of the pairs' ratios
goal       "ratio <= 3", "value <= 0", or null when none was set
runs       how many
min, max   over the runs
"""

import json
import statistics

KEYS = ("name", "value", "unit", "ratio_to", "ratio", "goal", "runs", "min", "max")

# Those that everybody may rely on to be there.
NAMES = ("stall_1", "stall_10k", "stall_19k", "heap_8g", "resident_4g", "outage_1g", "portable_1g", "peak_memory",
         "overhead", "throughput_get", "throughput_set", "throughput_get_p16", "throughput_set_p16", "failed_requests")


def rounded(number):
    """Four significant digits; whole numbers stay whole."""
    if number is None or isinstance(number, int):
        return number
    return float("{:.4g}".format(number))


def met(row):
    """Whether the row's goal is reached; None when it has none, or was not measured."""
    if row["goal"] is None or row["value"] is None:
        return None
    what, relation, limit = row["goal"].split()
    seen = row[what]
    if seen is None:
        return None
    return seen <= float(limit) if relation == "<=" else seen >= float(limit)


class Figures:
    """In the order in which they were added. A name is added once; a measured figure replaces a missing one."""

    def __init__(self):
        self._rows = {}

    def add(self, name, samples, unit, ratio_to=None, goal=None, ratio=None, value=None):
        """`samples`: one number for each run. `ratio`: instead of the quotient of the medians. `value`: instead of the
        median."""
        assert samples, name
        if name in self._rows and self._rows[name]["value"] is not None:
            raise ValueError("measured twice: " + name)
        self._rows[name] = {
            "name": name, "value": statistics.median(samples) if value is None else value, "unit": unit,
            "ratio_to": ratio_to, "ratio": ratio, "goal": goal, "runs": len(samples), "min": min(samples), "max": max(samples)}

    def missing(self, name, reason):
        if name not in self._rows:
            self._rows[name] = {"name": name, "value": None, "unit": None, "ratio_to": "not measured: " + reason,
                                "ratio": None, "goal": None, "runs": 0, "min": None, "max": None}

    def value(self, name):
        """None when it was not measured (yet)."""
        return self._rows[name]["value"] if name in self._rows else None

    def rows(self):
        """All, with ratios; a figure to compare with that was not measured leaves the ratio null."""
        for name in NAMES:
            self.missing(name, "not asked for")
        result = []
        for row in self._rows.values():
            row = dict(row)
            if row["ratio"] is None and row["value"] is not None and row["ratio_to"] is not None:
                reference = self.value(row["ratio_to"])
                row["ratio"] = row["value"] / reference if reference else None
            result.append({key: rounded(row[key]) if key in ("value", "ratio", "min", "max") else row[key]
                           for key in KEYS})
        return result

    def write(self, path):
        with open(path, "w", encoding="utf-8") as file:
            file.write("[\n" + ",\n".join("  " + json.dumps(row) for row in self.rows()) + "\n]\n")
