"""Libraries of the system, found by pkg-config and linked statically where an archive is installed.

Static linking is not a matter of taste here: the time from exec() to main() is part of every upgrade's
blackout, and each shared library adds to it.
"""

def _split(text):
    return [word for word in text.replace("\n", " ").split(" ") if word]

def _run(ctx, args):
    result = ctx.execute(args)
    if result.return_code != 0:
        fail("{} failed: {}\nRun ./dev setup, which installs what is missing.".format(
            " ".join(args),
            result.stderr,
        ))
    return result.stdout.strip()

def _archive_of(ctx, flag, directories, renamed):
    """Returns -l:libX.a for -lX where libX.a is installed, the flag itself otherwise."""
    if not flag.startswith("-l"):
        return flag
    name = renamed.get(flag[2:], flag[2:])
    if name in ctx.attr.always_shared:
        return flag
    if name == "atomic":
        return "-l:libatomic.a"  # The compiler's own: in its directory, which has no pkg-config file.
    for directory in directories:
        if ctx.path("{}/lib{}.a".format(directory, name)).exists:
            return "-l:lib{}.a".format(name)
    return flag

def _pkg_config_repository_impl(ctx):
    pkg_config = ctx.which("pkg-config")
    if not pkg_config:
        fail("pkg-config is not installed. Run ./dev setup.")
    cflags = _split(_run(ctx, [pkg_config, "--cflags"] + ctx.attr.packages))
    mode = ["--static"] if ctx.attr.static else []
    libs = _split(_run(ctx, [pkg_config, "--libs"] + mode + ctx.attr.packages))
    directories = [_run(ctx, [pkg_config, "--variable=libdir", package]) for package in ctx.attr.packages]
    linkopts = []
    for flag in libs:
        flag = _archive_of(ctx, flag, directories, ctx.attr.renamed)
        if flag not in linkopts or flag.startswith("-l:"):
            linkopts.append(flag)
    copts_defines = [flag[2:] for flag in cflags if flag.startswith("-D")]
    ctx.file("BUILD", """
cc_library(
    name = "{name}",
    defines = {defines},
    linkopts = {linkopts},
    visibility = ["//visibility:public"],
)
""".format(name = ctx.attr.target, defines = repr(copts_defines), linkopts = repr(linkopts)))

pkg_config_repository = repository_rule(
    implementation = _pkg_config_repository_impl,
    attrs = {
        "packages": attr.string_list(mandatory = True),
        "target": attr.string(mandatory = True),
        "static": attr.bool(default = True, doc = "Also link what the archives need themselves."),
        "renamed": attr.string_dict(doc = "Archive names that differ from the shared library's."),
        "always_shared": attr.string_list(default = ["pthread", "dl", "rt", "m", "c"]),
    },
    environ = ["PKG_CONFIG_PATH"],
    local = True,
    configure = True,
    doc = "A cc_library over system packages that have pkg-config files; headers are in /usr/include.",
)

def system_libraries():
    pkg_config_repository(
        name = "absl",
        target = "absl",
        packages = [
            "absl_any_invocable",
            "absl_base",
            "absl_cleanup",
            "absl_flat_hash_map",
            "absl_flat_hash_set",
            "absl_inlined_vector",
            "absl_node_hash_map",
            "absl_random_random",
            "absl_span",
            "absl_status",
            "absl_statusor",
            "absl_str_format",
            "absl_strings",
            "absl_time",
        ],
    )
    pkg_config_repository(name = "capnp", target = "capnp", packages = ["capnp"])
    pkg_config_repository(
        name = "libuv",
        target = "uv",
        packages = ["libuv"],
        renamed = {"uv": "uv_a"},
    )
    pkg_config_repository(name = "libelf", target = "elf", packages = ["libelf"])
    pkg_config_repository(name = "libmd", target = "md", packages = ["libmd"])
    pkg_config_repository(name = "xxhash", target = "xxhash", packages = ["libxxhash"])
    pkg_config_repository(name = "cli11", target = "cli11", packages = ["CLI11"])
    pkg_config_repository(name = "nlohmann_json", target = "json", packages = ["nlohmann_json"])
    pkg_config_repository(name = "googletest", target = "gtest", packages = ["gmock", "gtest"])
    pkg_config_repository(name = "googletest_main", target = "gtest_main", packages = ["gtest_main", "gmock", "gtest"])
    pkg_config_repository(name = "benchmark", target = "benchmark", packages = ["benchmark"])
