// KeyspaceComponent: carries the databases and the statistics.
//
// With resident memory the databases are in it; they cross with it, or, when the successor does not
// read its layout, in this component's image, as those on the heap do.
//
// A large key space is written ahead of the blackout (keyspace_copy.h) and loaded by the next
// program as it is asked for, and in slices (pending_keys.h).
#ifndef LIVEEXEC_DEMO_SERVER_KEYSPACE_COMPONENT_H_
#define LIVEEXEC_DEMO_SERVER_KEYSPACE_COMPONENT_H_

#include <array>
#include <memory>
#include <string_view>

#include "demo-server/engine/engine.h"
#include "demo-server/keyspace_copy.h"
#include "demo-server/pending_keys.h"
#include "demo-server/state/state_format.h"
#include "handoff/component.h"
#include "handoff/resident_memory.h"
#include "handoff/uv/loop_executor.h"
#include "handoff/uv/slices.h"

namespace liveexec::demo {

// To be registered before the component of the connections, whose sessions build on it.
class KeyspaceComponent final : public Component {
 public:
  // All borrowed. `memory` is a component registered before this one; `main` is the main loop.
  KeyspaceComponent(Engine& engine, const StateFormat& format, ResidentMemory& memory,
                    uv::LoopExecutor& main)
      : engine_(engine), format_(format), memory_(memory), slices_(main) {}
  // The engine is not used any more.
  ~KeyspaceComponent() override;

  std::string_view name() const override { return "keyspace"; }
  absl::Status Initialize() override;
  void Precopy(const Successor& successor, absl::AnyInvocable<void(absl::Status) &&> done) override;
  void AbandonPrecopy() override;
  absl::Status Export(ExportContext& context) const override;
  absl::Status Rehydrate(ImportContext& context) override;
  void Activate() override;

 private:
  void BeginInMemory();
  class Loader;

  // Loads what is pending until about `end_ns`; false when nothing is, or when there is no memory
  // for it: then it begins again by itself, later.
  bool LoadSome(int64_t end_ns);
  absl::Status LoadAll() const;
  void ReserveTables();
  void StartLoading();
  void ForgetLoaded();

  Engine& engine_;
  const StateFormat& format_;
  ResidentMemory& memory_;
  uv::Slices slices_;
  uint64_t retry_ms_ = 0;               // since when loading has not got on
  std::unique_ptr<KeyspaceCopy> copy_;  // from Precopy on, until it is abandoned
  // Those that a database refers to, and empty ones until they are forgotten.
  std::array<std::unique_ptr<PendingKeys>, Keyspace::kDatabases> pending_;
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_KEYSPACE_COMPONENT_H_
