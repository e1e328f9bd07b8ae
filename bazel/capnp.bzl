"""capnp_library: C++ from Cap'n Proto schemas, made by the system's capnp."""

def capnp_library(name, srcs, deps = [], visibility = None):
    """Generates and compiles the C++ of schemas.

    A schema is included as "package/file.capnp.h" and imported as "/package/file.capnp".

    Args:
      name: the cc_library.
      srcs: *.capnp files of this package.
      deps: other capnp_library targets whose schemas are imported.
      visibility: as for any rule.
    """
    headers = [src + ".h" for src in srcs]
    sources = [src + ".c++" for src in srcs]
    native.filegroup(
        name = name + "_schemas",
        srcs = srcs + [dep + "_schemas" for dep in deps],
        visibility = visibility,
    )
    native.genrule(
        name = name + "_generated",
        srcs = srcs + [dep + "_schemas" for dep in deps],
        outs = headers + sources,
        # -I. makes absolute imports ("/handoff/x.capnp") resolve from the workspace's root.
        cmd = "capnp compile --import-path=. --src-prefix=. -oc++:$(RULEDIR)/" +
              "../" * len(native.package_name().split("/")) + " " +
              " ".join(["$(location {})".format(src) for src in srcs]) +
              # capnp includes imported schemas with <>, which Bazel's quote-only paths do not find.
              " && sed -i 's|#include <\\(.*[.]capnp[.]h\\)>|#include \"\\1\"|' $(OUTS)",
    )
    native.cc_library(
        name = name,
        srcs = sources,
        hdrs = headers,
        # Generated code: its warnings are not ours.
        copts = ["-w"],
        deps = ["@capnp"] + deps,
        visibility = visibility,
    )
