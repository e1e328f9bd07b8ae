"""Thin wrappers that give every C++ target of the project the same warnings, all of them errors."""

_COPTS = [
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wnon-virtual-dtor",
    "-Woverloaded-virtual",
    "-Wshadow",
    "-Wimplicit-fallthrough",
    "-Wno-missing-field-initializers",
]

def _with_copts(kwargs):
    kwargs["copts"] = _COPTS + kwargs.get("copts", [])
    return kwargs

def liveexec_cc_library(name, **kwargs):
    native.cc_library(name = name, **_with_copts(kwargs))

def liveexec_cc_binary(name, **kwargs):
    native.cc_binary(name = name, **_with_copts(kwargs))

def liveexec_cc_test(name, deps = [], own_main = False, **kwargs):
    """A GoogleTest program.

    Args:
      name: the test.
      deps: what it tests; GoogleTest is added.
      own_main: the sources define main(), as tests that exec themselves do.
      **kwargs: as for cc_test.
    """
    native.cc_test(
        name = name,
        deps = deps + ["@googletest//:gtest" if own_main else "@googletest_main//:gtest_main"],
        **_with_copts(kwargs)
    )
