#include "demo-server/options.h"

#include <CLI/CLI.hpp>

namespace liveexec::demo {

ParsedOptions ParseOptions(int argc, char** argv, std::string_view version) {
  ParsedOptions parsed;
  Options& options = parsed.options;
  CLI::App app("A server that speaks the Redis protocol and upgrades itself in place.");
  app.set_version_flag("--version", "demo-server " + std::string(version));
  app.add_option("--port", options.port, "TCP port; 0 picks one")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  app.add_option("--bind", options.bind, "addresses to listen on; may be repeated")
      ->capture_default_str();
  app.add_option("--unixsocket", options.unix_socket, "path of a UNIX socket to listen on too");
  app.add_option("--threads", options.threads, "threads that serve connections")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--control", options.control, "control socket for the liveexec command");
  app.add_option("--upgrade-binary", options.upgrade_binary,
                 "what SIGHUP upgrades to; this program's own path if not given");
  app.add_flag("--resident,!--heap", options.resident,
               "keep the data in memory that upgrades hand over as it is (the default), or on the "
               "heap, which they export and read anew");
  app.add_option("--resident-capacity", options.resident_capacity,
                 "address space for the data (such as 8GB); as much as the machine has memory if "
                 "not given")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/false));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // The parser has a code of its own for each kind of mistake.
    parsed.exit_code = app.exit(error) == 0 ? 0 : 1;
  }
  return parsed;
}

}  // namespace liveexec::demo
