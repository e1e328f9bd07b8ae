#!/usr/bin/env python3
"""The benchmarks work: every name is in the JSON, with every key; floors, clients and servers do what they are for. No
figure is judged: tests run on busy machines."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

DIRECTORY = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, DIRECTORY)

import figures  # noqa: E402
import report  # noqa: E402


class BenchTest(unittest.TestCase):
    def bench(self, only):
        with tempfile.TemporaryDirectory(prefix="lx.") as directory:
            path = os.path.join(directory, "figures.json")
            command = [sys.executable, os.path.join(DIRECTORY, "bench.py"), "--quick", "--only", only, "--json", path,
                       "--programs", os.getcwd()]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            with open(path, encoding="utf-8") as file:
                rows = json.load(file)
            with open(report.machine_path(path), encoding="utf-8") as file:
                machine = json.load(file)
        return {row["name"]: row for row in rows}, machine

    def test_measures_what_it_is_asked_for_and_says_what_it_did_not(self):
        rows, machine = self.bench("stall_1")
        for name in figures.NAMES:
            self.assertEqual(tuple(rows[name]), figures.KEYS)
        for name in ("stall_1", "floor_rebuild_1", "floor_inherit_1", "echo_1"):
            self.assertEqual(rows[name]["runs"], 3)
            self.assertLessEqual(rows[name]["min"], rows[name]["value"])
            self.assertLessEqual(rows[name]["value"], rows[name]["max"])
        self.assertAlmostEqual(rows["stall_1"]["ratio"], rows["stall_1"]["value"] / rows["floor_rebuild_1"]["value"],
                               delta=0.01 * rows["stall_1"]["ratio"])
        self.assertEqual(rows["failed_requests"]["value"], 0)
        self.assertIsNone(rows["heap_8g"]["value"])
        self.assertEqual(rows["heap_8g"]["ratio_to"], "not measured: not asked for")
        self.assertIn("--only stall_1", machine["command"])

    def test_a_document_has_every_figure(self):
        rows, machine = self.bench("fds_0")
        text = report.document(list(rows.values()), machine, "nowhere")
        for name in rows:
            self.assertIn("| {} |".format(name), text)
        for line in text.splitlines():
            self.assertTrue(line.startswith("|") or len(line) <= 100, line)

    def test_goals_have_a_direction(self):
        row = dict.fromkeys(figures.KEYS)
        row.update(value=2, ratio=0.5, goal="ratio >= 1")
        self.assertIs(figures.met(row), False)
        row.update(goal="ratio <= 1")
        self.assertIs(figures.met(row), True)
        row.update(goal="value <= 0")
        self.assertIs(figures.met(row), False)
        row.update(value=None)
        self.assertIsNone(figures.met(row))


if __name__ == "__main__":
    unittest.main()
