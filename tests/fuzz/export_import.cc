// Export, import, export: demo-server's state, whatever its clients have done, is the same after a
// crossing. The input is text, a line each:
//
//   1             the version of the format, 0 to 2
//   a SET k v     an inline command of client a, b or c
#include <algorithm>
#include <array>
#include <cctype>
#include <memory>
#include <mutex>

#include "handoff/guarded_call.h"
#include "tests/fuzz/demo_state.h"
#include "tests/fuzz/fuzzing.h"

namespace liveexec::fuzz {
namespace {

using demo::EngineHarness;
using demo::StateFormat;
using demo::TestClient;

using Clients = std::array<std::unique_ptr<TestClient>, 3>;

// Commands that are asked for gigabytes, as they may be, say nothing about a crossing.
bool IsModest(std::string_view line) {
  std::string name;
  for (const char c : line.substr(0, line.find(' '))) {
    name += static_cast<char>(toupper(static_cast<unsigned char>(c)));
  }
  const bool by_number = name == "SETRANGE" || name == "SETBIT" || name == "BITFIELD" ||
                         name.find("RAND") != std::string::npos || name == "DEBUG";
  int digits = 0;
  for (const char c : line) {
    digits = isdigit(static_cast<unsigned char>(c)) != 0 ? digits + 1 : 0;
    if (by_number && digits > 4) return false;
  }
  return line.size() < 4096;
}

void Run(std::string_view script, EngineHarness& server, Clients& clients) {
  for (auto& client : clients) client = std::make_unique<TestClient>(server);
  for (int lines = 0; lines < 200 && !script.empty(); ++lines) {
    const std::string_view line = script.substr(0, script.find('\n'));
    script.remove_prefix(std::min(line.size() + 1, script.size()));
    if (line.size() < 3 || line[0] < 'a' || line[0] > 'c' || !IsModest(line.substr(2))) continue;
    auto& client = *clients[static_cast<size_t>(line[0] - 'a')];
    // A connection that is to be closed would be.
    if (!client.session.closing()) client.Call(line.substr(2));
  }
}

// The next program's server, rebuilt from an export of `from` and of those of its clients that are
// not closing.
struct Crossed {
  Crossed(const StateFormat& format, EngineHarness& from, const Clients& theirs) {
    keyspace = KeyspaceExport(format, from.engine());
    auto image = ImageOf(keyspace);
    FUZZ_CHECK_OK(image.status());
    FUZZ_CHECK_OK(GuardedCall("key space", [&] {
      std::lock_guard lock(server.engine().mutex());
      return format.ReadKeyspace(image->message().getRoot<capnp::AnyPointer>(), server.engine());
    }));
    for (size_t i = 0; i < theirs.size(); ++i) Cross(format, *theirs[i], i);
  }

  void Cross(const StateFormat& format, const TestClient& from, size_t i) {
    sessions[i] = Comparable(format, from.session);
    auto image = ImageOf(SessionExport(format, from.session));
    FUZZ_CHECK_OK(image.status());
    clients[i] = std::make_unique<TestClient>(server, TestClient::Unopened());
    FUZZ_CHECK_OK(GuardedCall("session", [&] {
      std::lock_guard lock(server.engine().mutex());
      return format.ReadSession(image->message().getRoot<capnp::AnyPointer>(), server.engine(),
                                clients[i]->session);
    }));
    clients[i]->Adopt();
  }

  std::string keyspace;                 // as it was exported
  std::array<std::string, 3> sessions;  // likewise
  EngineHarness server{1, /*seed=*/7};
  Clients clients;  // after the server: they leave it first
};

void Check(const StateFormat& format, std::string_view script) {
  EngineHarness server;
  Clients clients;
  Run(script, server, clients);
  Crossed first(format, server, clients);
  Crossed second(format, first.server, first.clients);
  FUZZ_CHECK(second.keyspace == first.keyspace);
  FUZZ_CHECK(second.sessions == first.sessions);
  // And it serves on. (What it answers may depend on the time: the comparison above must not.)
  for (const auto& client : second.clients) {
    for (const char* command : {"DBSIZE", "EXEC", "KEYS *", "CLIENT LIST"}) {
      if (!client->session.closing()) client->Call(command);
    }
    client->Receive();
  }
  second.server.engine().RunTimers();
}

}  // namespace
}  // namespace liveexec::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t first = text.find('\n');
  if (first == std::string_view::npos || first == 0) return 0;
  const int version = std::clamp(text[0] - '0', 0, 2);
  liveexec::fuzz::Check(liveexec::fuzz::FormatOf(version), text.substr(first + 1));
  return 0;
}
