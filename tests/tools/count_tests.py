"""Counts the test cases of a bazel test run, from its build event file, and ends with "N passed, N failed".

usage: count_tests.py EVENTS_FILE EXIT_CODE_OF_BAZEL
"""

import json
import sys
import urllib.parse
import xml.etree.ElementTree


def read_events(path):
    with open(path, encoding="utf-8") as events:
        for line in events:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue  # The last line of a run that was killed.


def count_cases(xml_path):
    """(passed, names of failed) of one test.xml; a case that was skipped is neither."""
    passed, failed = 0, []
    for case in xml.etree.ElementTree.parse(xml_path).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append("{}.{}".format(case.get("classname", ""), case.get("name", "")))
        elif case.get("status") != "notrun" and case.find("skipped") is None:
            passed += 1
    return passed, failed


def xml_of(result):
    for output in result.get("testActionOutput", []):
        if output.get("name") == "test.xml":
            return urllib.parse.unquote(urllib.parse.urlparse(output.get("uri", "")).path)
    return None


def main():
    events_path, bazel_exit = sys.argv[1], int(sys.argv[2])
    passed, failed, with_result, unbuilt = 0, [], set(), set()
    for event in read_events(events_path):
        identity = event.get("id", {})
        if "testResult" in identity:
            label = identity["testResult"]["label"]
            with_result.add(label)
            try:
                ok, bad = count_cases(xml_of(event["testResult"]))
            except (OSError, TypeError, xml.etree.ElementTree.ParseError):
                ok, bad = 0, []
            if event["testResult"].get("status") not in ("PASSED", "FLAKY") and not bad:
                bad = ["(the whole test: {})".format(event["testResult"].get("status"))]
            passed += ok
            failed += ["{} {}".format(label, name) for name in bad]
        if "targetCompleted" in identity and not event.get("completed", {}).get("success", False):
            unbuilt.add(identity["targetCompleted"]["label"])
    failed += ["{} (not built)".format(label) for label in sorted(unbuilt - with_result)]
    if bazel_exit not in (0, 3) and not failed:
        failed.append("(bazel ended with exit code {})".format(bazel_exit))
    if passed == 0 and not failed:
        failed.append("(no test ran)")
    for name in failed:
        print("FAILED", name)
    print("{} passed, {} failed".format(passed, len(failed)))
    return 1 if failed or bazel_exit != 0 else 0


if __name__ == "__main__":
    sys.exit(main())
