// Keep-alive clients that ask for something at a pace: what do they notice of an upgrade?
//
//   load_client --port P --pid PID --protocol http|resp --busy B --paced N --pace-ms MS
//
// B connections have a request under way at all times, N send one every MS. {"ready": B+N} once all
// have been answered. Then, for each line of standard input:
//
//   begin      counts from here
//   end        one line of JSON about the time since:
//     requests, failed   a request fails when its connection ends first, or cannot be made, or the
//                        reply is an error. A closed connection without a request under way is
//                        made anew before the next one.
//     dropped            connections that the server ended
//     worst_ns           the longest wait of a request that was answered
//     outage_ns          the longest time without any good reply
//     all_new_ns         until each connection has been served by the new program; -1: not yet.
//                        http: the body, a PID, is none of those seen before "begin"
//                        resp: process PID has exec'd or ended
//     all_new            whether that is so by now: cheap to ask with the command "new"
//   new        {"all_new": ...}
//
// Single thread, one epoll set; a line of input that never comes keeps it running, end of input
// ends it.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "tests/bench/load.h"

int main(int argc, char** argv) {
  liveexec::bench::LoadOptions options;
  CLI::App app("Keep-alive clients that ask for something at a pace.");
  app.add_option("--port", options.port)->required();
  app.add_option("--pid", options.pid)->required();
  app.add_option("--protocol", options.protocol)->check(CLI::IsMember({"http", "resp"}));
  app.add_option("--busy", options.busy);
  app.add_option("--paced", options.paced);
  app.add_option("--pace-ms", options.pace_ms)->check(CLI::Range(1, 60'000));
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = liveexec::bench::RunLoad(options);
  if (status.ok()) return 0;
  fprintf(stderr, "load_client: %s\n", status.ToString().c_str());
  return 1;
}
