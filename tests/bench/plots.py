"""The plots of docs/benchmarks.md, drawn by gnuplot as SVG."""

import os
import subprocess

import fit

STYLE = """
set terminal svg size 760,420 dynamic font "sans-serif,13" background "white"
set grid back lc rgb "#dddddd"
set border 3
set tics nomirror
set key left top
set style line 1 lc rgb "#1f5fa8" lw 2 pt 7 ps 0.7
set style line 2 lc rgb "#6aa5d8" lw 2 pt 7 ps 0.7
set style line 3 lc rgb "#c25a1a" lw 2 pt 5 ps 0.7
set style line 4 lc rgb "#8a8a8a" lw 2 pt 9 ps 0.7
"""


def series(rows, prefix, sizes):
    """(size, median, min, max) of those that were measured."""
    found = []
    for label, size in sizes.items():
        row = rows.get(prefix + label)
        if row and row["value"] is not None:
            found.append((size, row["value"], row["min"], row["max"]))
    return found


def gnuplot(script):
    subprocess.run(["gnuplot"], input=STYLE + script, text=True, check=True)


def lines(path, title, x_label, lines_of_plot, extra):
    """Medians with their spread, and the straight line through them where there is one."""
    blocks, plots = [], []
    for style, (name, points) in enumerate(lines_of_plot, 1):
        if not points:
            continue
        block = "$data{}".format(style)
        blocks.append(block + " << END\n" + "\n".join(" ".join(map(str, point)) for point in points) + "\nEND")
        plots.append('{} using 1:2:3:4 with yerrorbars ls {} title "{}"'.format(block, style, name))
        through = fit.line([(point[0], point[1]) for point in points])
        if through and through[0] > 0:
            plots.append("{} + {} * x with lines ls {} dt 2 notitle".format(through[0], through[1], style))
    if not plots:
        return
    gnuplot("\n".join([*blocks, 'set output "{}"'.format(path), 'set title "{}"'.format(title),
                       'set xlabel "{}"'.format(x_label), 'set ylabel "ms"', extra, "plot " + ", ".join(plots)]) + "\n")


def bars(path, title, y_label, labels, columns, extra=""):
    """`columns`: (name, one value for each label)."""
    block = "$data << END\n" + "\n".join(
        '"{}" {}'.format(label, " ".join(str(values[i]) for _, values in columns))
        for i, label in enumerate(labels)) + "\nEND"
    plots = ['$data using {}:xtic(1) ls {} title "{}"'.format(i + 2, i * 2 + 1, name)
             for i, (name, _) in enumerate(columns)]
    gnuplot("\n".join([block, 'set output "{}"'.format(path), 'set title "{}"'.format(title),
                       'set ylabel "{}"'.format(y_label), "set style data histograms",
                       "set style histogram clustered gap 1", "set style fill solid 0.9", extra,
                       "plot " + ", ".join(plots)]) + "\n")


def draw(figures, directory):
    """Writes those plots whose figures are there; removes the others, which would be of another run."""
    os.makedirs(directory, exist_ok=True)
    for name in os.listdir(directory):
        if name.endswith(".svg"):
            os.remove(os.path.join(directory, name))
    rows = {row["name"]: row for row in figures}

    def path(name):
        return os.path.join(directory, name)

    lines(path("stall_connections.svg"), "Longest wait of a client around an upgrade", "established connections", [
        ("demo-server", series(rows, "stall_", fit.CONNECTIONS)),
        ("echo example", series(rows, "echo_", fit.CONNECTIONS)),
        ("floor: epoll set rebuilt", series(rows, "floor_rebuild_", fit.CONNECTIONS)),
        ("floor: epoll set inherited", series(rows, "floor_inherit_", fit.CONNECTIONS)),
    ], "set logscale xy\nset samples 400\nset xrange [0.8:*]")
    lines(path("stall_memory.svg"), "Longest wait of a client around an upgrade", "MiB", [
        ("resident state", series(rows, "resident_", fit.GIBIBYTES)),
        ("heap that does not cross", series(rows, "heap_", fit.GIBIBYTES)),
        ("portable state", series(rows, "portable_", fit.MEBIBYTES)),
    ], "set yrange [0.1:*]\nset logscale y\nset samples 400\nset key right bottom")
    draw_peers(rows, path("peers.svg"))
    draw_throughput(rows, path("throughput.svg"))


def draw_peers(rows, path):
    names = [name for name in ("upgrade", "nginx", "haproxy", "tableflip")
             if rows.get(name + "_dropped", {}).get("value") is not None]
    if names:
        bars(path, "One upgrade under load: 1,064 keep-alive connections", "", names,
             [(column, [rows["{}_{}".format(name, key)]["value"] for name in names])
              for column, key in (("connections dropped", "dropped"), ("requests failed", "failed"))])


def draw_throughput(rows, path):
    labels, ratios = [], []
    for threads in ("", "_4t"):
        for test in ("get", "set", "get_p16", "set_p16"):
            row = rows.get("throughput_{}{}".format(test, threads))
            if row and row["ratio"] is not None:
                labels.append(test.replace("_", " ") + (", 4 threads" if threads else ""))
                ratios.append(row["ratio"])
    if labels:
        bars(path, "Requests per second of demo-server, in those of redis-server", "ratio", labels,
             [("demo-server / redis-server", ratios)],
             "set yrange [0:*]\nset xtics rotate by -25\nset arrow from graph 0, first 1 to graph 1, first 1 nohead dt 2")
