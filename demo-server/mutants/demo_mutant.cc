// demo-server, version 1, that does one thing wrong with its upgrades.
//
//   demo_mutant [--mutant FAULT] OPTIONS OF DEMO-SERVER
//
// Besides the saboteur's faults it has those of a state that was read back wrongly:
//   lose-write            keys are gone               double-write         a counter is one ahead
//   stale-write           a key has an older value
//   forget-timer          BLPOP waits for ever        forget-subscription  SUBSCRIBE is forgotten
//   answer-twice          a client gets a reply that it did not ask for
#include <cstdlib>
#include <string>

#include "core/error.h"
#include "demo-server/data/keyspace.h"
#include "demo-server/engine/engine.h"
#include "demo-server/engine/session.h"
#include "demo-server/mutants/saboteur.h"
#include "demo-server/run.h"
#include "demo-server/state/state_format.h"
#include "handoff/program_note.h"

LIVEEXEC_APPLICATION("demo-server", "v1");
LIVEEXEC_COMPONENT("saboteur", 1, 1);
// Reads no resident memory: its faults are in how it reads images.
LIVEEXEC_COMPONENT("memory", 1, 1);
LIVEEXEC_COMPONENT("keyspace", 1, 1);
LIVEEXEC_COMPONENT("clients", 1, 1);
LIVEEXEC_COMPONENT("signals", 1, 1);

namespace liveexec::demo {
namespace {

// The keys that the harness's clients share.
constexpr char kCounter[] = "liveexec:counter:0";
constexpr const char* kRegisters[] = {"liveexec:register:0", "liveexec:register:1",
                                      "liveexec:register:2"};

class MutantFormat final : public StateFormat {
 public:
  MutantFormat(const StateFormat& good, std::string fault)
      : good_(good), fault_(std::move(fault)) {}

  std::string_view version() const override { return good_.version(); }
  bool has_access_statistics() const override { return good_.has_access_statistics(); }
  using StateFormat::ReadKeyspace;
  using StateFormat::WriteKeyspace;
  void WriteKeyspace(const Engine& engine, Stop stop, const KeysAhead* ahead,
                     capnp::AnyPointer::Builder root) const override {
    good_.WriteKeyspace(engine, stop, ahead, root);
  }
  void WriteKey(const Entry& entry, capnp::AnyPointer::Builder root) const override {
    good_.WriteKey(entry, root);
  }
  absl::Status LoadKey(capnp::AnyPointer::Reader root, Database& database,
                       const Engine& engine) const override {
    return good_.LoadKey(root, database, engine);
  }
  KeyHead PeekKey(capnp::AnyPointer::Reader root) const override { return good_.PeekKey(root); }
  uint64_t SizeOfKey(capnp::AnyPointer::Reader root) const override {
    return good_.SizeOfKey(root);
  }
  void WriteSession(const Session& session, capnp::AnyPointer::Builder root) const override {
    good_.WriteSession(session, root);
  }

  absl::Status ReadKeyspace(capnp::AnyPointer::Reader root, Engine& engine,
                            KeysAhead* ahead) const override {
    LIVEEXEC_RETURN_IF_ERROR(good_.ReadKeyspace(root, engine, ahead));
    Database& database = engine.keyspace().database(0);
    // Several, because a key that is written again before it is read was never missed.
    for (const char* key : kRegisters) {
      if (Entry* entry = database.Find(key); entry != nullptr && fault_ == "lose-write")
        database.Erase(entry);
    }
    if (Entry* entry = database.Find(kCounter); entry != nullptr) {
      if (fault_ == "double-write") Add(*entry, 1);
      if (fault_ == "stale-write") Add(*entry, -1);
    }
    return absl::OkStatus();
  }

  absl::Status ReadSession(capnp::AnyPointer::Reader root, const Engine& engine,
                           Session& session) const override {
    LIVEEXEC_RETURN_IF_ERROR(good_.ReadSession(root, engine, session));
    if (fault_ == "forget-timer") session.blocked.deadline_ms = 0;
    if (fault_ == "forget-subscription") session.channels.Clear();
    if (fault_ == "answer-twice" && !session.is_blocked() && session.channels.empty())
      session.out += ":1\r\n";
    return absl::OkStatus();
  }

 private:
  static void Add(Entry& entry, int64_t amount) {
    Bytes& bytes = *entry.value.As<Bytes>();
    const int64_t value =
        std::strtoll(std::string(bytes.data(), bytes.size()).c_str(), nullptr, 10);
    bytes.assign(std::to_string(value + amount));
  }

  const StateFormat& good_;
  std::string fault_;
};

}  // namespace
}  // namespace liveexec::demo

int main(int argc, char** argv) {
  const std::string fault = liveexec::mutants::TakeFault(argc, argv);
  liveexec::mutants::Saboteur saboteur(fault);
  const liveexec::demo::MutantFormat format(liveexec::demo::StateFormatV1(), fault);
  return liveexec::demo::Run(argc, argv, format, &saboteur);
}
