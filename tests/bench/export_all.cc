// What it takes to export a key space whole, as an upgrade without any preparation would have to in
// its blackout: written as one Cap'n Proto message, and sealed in a memory file. (An upgrade
// computes a checksum as well.)
//
//   export_all KEYS VALUE_BYTES REPEATS     says {"export_ns": [...]}
#include <capnp/message.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/sealed_memfd.h"
#include "core/syscalls.h"
#include "core/unique_fd.h"
#include "demo-server/state/state_format.h"
#include "demo-server/testing/engine_harness.h"
#include "tests/bench/connections.h"

namespace liveexec::bench {
namespace {

void Fill(demo::EngineHarness& server, size_t keys, size_t value_bytes) {
  demo::TestClient client(server);
  std::mt19937_64 random(1);  // NOLINT: the same bytes each time.
  std::string value(value_bytes, '\0');
  for (size_t i = 0; i < keys; ++i) {
    for (size_t at = 0; at + 8 <= value.size(); at += 8) {
      const uint64_t word = random();
      value.replace(at, 8, reinterpret_cast<const char*>(&word), 8);
    }
    client.Send(demo::Encode({"SET", "key:" + std::to_string(i), value}));
  }
}

absl::StatusOr<int64_t> ExportOnce(const demo::Engine& engine) {
  const int64_t begin = MonotonicNs();
  capnp::MallocMessageBuilder message;
  demo::StateFormatV1().WriteKeyspace(
      engine, [] { return false; }, message.initRoot<capnp::AnyPointer>());
  Syscalls syscalls;
  LIVEEXEC_ASSIGN_OR_RETURN(MemfdWriter file, MemfdWriter::Create(syscalls, "export_all"));
  for (const auto& segment : message.getSegmentsForOutput()) {
    const auto bytes = segment.asBytes();
    LIVEEXEC_RETURN_IF_ERROR(file.Append({bytes.begin(), bytes.size()}));
  }
  LIVEEXEC_ASSIGN_OR_RETURN(const UniqueFd sealed, std::move(file).Seal());
  return MonotonicNs() - begin;
}

int Run(size_t keys, size_t value_bytes, int repeats) {
  demo::EngineHarness server;
  Fill(server, keys, value_bytes);
  nlohmann::json times = nlohmann::json::array();
  for (int i = 0; i < repeats; ++i) {
    const absl::StatusOr<int64_t> time = ExportOnce(server.engine());
    if (!time.ok()) {
      std::cerr << "export_all: " << time.status() << std::endl;
      return 1;
    }
    times.push_back(*time);
  }
  std::cout << nlohmann::json{{"export_ns", times}} << std::endl;
  return 0;
}

}  // namespace
}  // namespace liveexec::bench

int main(int argc, char** argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: export_all KEYS VALUE_BYTES REPEATS\n");
    return 2;
  }
  return liveexec::bench::Run(strtoull(argv[1], nullptr, 10), strtoull(argv[2], nullptr, 10),
                              atoi(argv[3]));
}
