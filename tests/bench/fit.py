"""Cost against N (benchmark 6): straight lines through the medians of the other benchmarks, by least squares."""

import statistics

from stall import SIZES

CONNECTIONS = {label: count for label, count in SIZES.items()}
FDS = {"0": 0, "1000": 1000, "4000": 4000, "16000": 16000}
GIBIBYTES = {"0g": 0, "1g": 1024, "4g": 4096, "8g": 8192}
MEBIBYTES = {"0m": 0, "64m": 64, "256m": 256, "1g": 1024}

# name: (prefix of the figures, their sizes, unit of the slope)
LINES = {
    "fit_connection": ("stall_", CONNECTIONS, "us/connection"),
    "fit_connection_echo": ("echo_", CONNECTIONS, "us/connection"),
    "fit_connection_floor_rebuild": ("floor_rebuild_", CONNECTIONS, "us/connection"),
    "fit_connection_floor_inherit": ("floor_inherit_", CONNECTIONS, "us/connection"),
    "fit_fd": ("fds_", FDS, "us/fd"),
    "fit_mib_heap": ("heap_", GIBIBYTES, "us/MiB"),
    "fit_mib_resident": ("resident_", GIBIBYTES, "us/MiB"),
    "fit_mib_portable": ("portable_", MEBIBYTES, "us/MiB"),
}


def points(value_of, prefix, sizes):
    """(size, ms) of those that were measured."""
    found = [(size, value_of(prefix + label)) for label, size in sizes.items()]
    return [(size, value) for size, value in found if value is not None]


def line(measured):
    """(ms at 0, ms for each one more), or None when there are too few points for a line."""
    if len(measured) < 2:
        return None
    slope, at_zero = statistics.linear_regression(*zip(*measured))
    return at_zero, slope


def fit(context):
    for name, (prefix, sizes, unit) in LINES.items():
        through = line(points(context.figures.value, prefix, sizes))
        if through:
            context.figures.add(name, [through[1] * 1000], unit)
