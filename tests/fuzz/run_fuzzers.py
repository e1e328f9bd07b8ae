#!/usr/bin/env python3
"""Runs fuzz targets one after the other, each for a given time, and prints what came of it.

  run_fuzzers.py --binaries FOLDER --corpus FOLDER --work FOLDER --time SECONDS TARGET...

What widens the coverage is kept in the work folder, so the next run goes on where this one ended. Seeds and
former findings come from the corpus, which is only read. An input that fails is kept under findings/ in the
work folder; the exit code is then 1.
"""

import argparse
import os
import re
import subprocess
import sys

# Longest input, in bytes: longer ones say no more and take longer.
MAX_LENGTH = 4096
# An input that takes longer, in seconds, or a process that takes more memory, in MiB, is a finding.
TIMEOUT = 25
MEMORY = 2048


def run(target, arguments):
    work = os.path.join(arguments.work, "corpus", target)
    findings = os.path.join(arguments.work, "findings", target)
    logs = os.path.join(arguments.work, "logs")
    for folder in (work, findings, logs):
        os.makedirs(folder, exist_ok=True)
    before = set(os.listdir(findings))
    command = [
        os.path.join(arguments.binaries, target + "_fuzzer"),
        "-max_total_time={}".format(arguments.time),
        "-max_len={}".format(MAX_LENGTH),
        "-timeout={}".format(TIMEOUT),
        "-rss_limit_mb={}".format(MEMORY),
        "-print_final_stats=1",
        "-artifact_prefix={}/".format(findings),
    ]
    corpus = os.path.join(arguments.corpus, target)
    dictionary = os.path.join(arguments.corpus, "..", target + ".dict")
    if os.path.exists(dictionary):
        command.append("-dict=" + dictionary)
    log = os.path.join(logs, target + ".log")
    with open(log, "wb") as out:
        status = subprocess.call(command + [work, corpus], stdout=out, stderr=out)
    with open(log, encoding="utf-8", errors="replace") as lines:
        text = lines.read()
    executions = re.findall(r"stat::number_of_executed_units:\s*(\d+)", text)
    seconds = re.findall(r"Done \d+ runs in (\d+) second", text)
    coverage = re.findall(r"cov: (\d+) ft: (\d+)", text)
    found = sorted(set(os.listdir(findings)) - before)
    return {
        "target": target,
        "seconds": seconds[-1] if seconds else "?",
        "executions": executions[-1] if executions else "?",
        "coverage": coverage[-1] if coverage else ("?", "?"),
        "found": [os.path.join(findings, name) for name in found],
        "failed": status != 0,
        "log": log,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binaries", required=True)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--time", type=int, default=60)
    parser.add_argument("targets", nargs="+")
    arguments = parser.parse_args()
    row = "{:<18} {:>8} {:>12} {:>9} {:>9}  {}"
    print(row.format("target", "seconds", "executions", "edges", "features", "findings"), flush=True)
    failed = []
    for target in arguments.targets:
        result = run(target, arguments)
        print(row.format(target, result["seconds"], result["executions"], *result["coverage"],
                         len(result["found"]) or ("none" if not result["failed"] else "it failed")), flush=True)
        if result["failed"]:
            failed.append(result)
    for result in failed:
        for path in result["found"]:
            print("FINDING of {}: {}".format(result["target"], path))
        print("  its report: {}".format(result["log"]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
