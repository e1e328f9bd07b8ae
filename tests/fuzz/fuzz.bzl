"""fuzz_target: one libFuzzer target, and the test that replays its corpus."""

load("//bazel:cc.bzl", "liveexec_cc_binary", "liveexec_cc_library", "liveexec_cc_test")

def fuzz_target(name, deps):
    """A source file <name>.cc with LLVMFuzzerTestOneInput, built twice.

    <name>_fuzzer needs --config=fuzz, so it is built by name only (./dev fuzz does). <name>_corpus_test is
    an ordinary test, in every configuration: it feeds corpus/<name>/* to the same function.

    Args:
      name: the target; its corpus is the folder corpus/<name>.
      deps: what the source file includes; the checks and the input's reader are added.
    """
    liveexec_cc_library(
        name = name,
        testonly = True,
        srcs = [name + ".cc"],
        deps = deps + [":fuzzing"],
        alwayslink = True,
    )
    liveexec_cc_binary(
        name = name + "_fuzzer",
        testonly = True,
        linkopts = ["-fsanitize=fuzzer"],
        tags = ["manual"],
        deps = [":" + name],
    )
    liveexec_cc_test(
        name = name + "_corpus_test",
        srcs = ["corpus_test.cc"],
        data = native.glob(["corpus/" + name + "/*"]),
        local_defines = ['FUZZ_TARGET=\\"' + name + '\\"'],
        deps = [":" + name],
    )
