// ResidentMemory: a component whose memory crosses as it is, at a cost that does not depend on how
// much there is.
//
//   constexpr uint64_t kLayout = liveexec::ResidentLayout("chat", 1).Type<State>()...fingerprint();
//   LIVEEXEC_COMPONENT("memory", 1, 1);
//   LIVEEXEC_RESIDENT_LAYOUT("memory", kLayout);
//
//   ResidentMemory memory({.layout = kLayout, .capacity = 1 << 30});
//   upgrader->Register(memory);      // before the components whose state is in it
//   upgrader->Register(rooms);
//
//   absl::Status Rooms::Initialize() { state_ = New<State>(memory.heap()); set_root... }
//   absl::Status Rooms::Export(ExportContext& context) const {
//     if (memory.Crosses(context)) return absl::OkStatus();   // the successor finds it in there
//     ... export state_ in Cap'n Proto ...
//   }
//   absl::Status Rooms::Rehydrate(ImportContext& context) {
//     if (memory.arrived()) { state_ = static_cast<State*>(memory.heap().root()); return ...; }
//     ... make a new state_ in memory.heap() from the image ...
//   }
//
// Whether memory crosses is the old program's decision, made from the candidate's note: it does if
// the candidate lists the layout that this program has. Otherwise this component is left out, the
// new program's starts with empty memory, and the other components' exports carry the state. The
// journal says which it was. The same happens when a rehearsal, or an attempt before, found that
// the candidate has something of its own at the memory's address.
//
// What has arrived is read-only until the commit: a write before is a crash, and the upgrade is
// rolled back (E_EARLY). The old program then finds its memory as it left it. Memory that is not at
// rest, or not the one that was handed over, is never served (E_TORN, E_RESIDENT).
//
// A rehearsal sees that address, header and layout fit, and not what is in the memory, which the
// server goes on changing: there arrived() is false and the memory empty and of no use (has_heap()
// is false), so components should export a sample to it all the same (ExportContext::snapshot()),
// and rebuild it on the ordinary heap.
//
// Shards: one heap each, for threads that do not want to share a lock. Their number is the old
// program's for as long as the memory crosses.
//
// Main thread, as all components; the heaps belong to whoever the application says.
#ifndef LIVEEXEC_HANDOFF_RESIDENT_MEMORY_H_
#define LIVEEXEC_HANDOFF_RESIDENT_MEMORY_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/resident_heap.h"
#include "core/resident_region.h"
#include "handoff/component.h"

namespace liveexec {

struct ResidentMemoryOptions {
  std::string name = "memory";  // of the component
  uint64_t layout = 0;          // ResidentLayout::fingerprint(); also in the program's note
  // Of each shard, in bytes: address space, used as it is needed. 0: no memory is made, though what
  // an old program hands over is taken. kAsMuchAsThereIs: what the machine and the process's limits
  // allow.
  uint64_t capacity = 0;
  uint32_t shards = 1;  // 1 to 64
};

class ResidentMemory final : public Component {
 public:
  static constexpr uint32_t kMostShards = 64;
  static constexpr uint64_t kAsMuchAsThereIs = UINT64_MAX;

  explicit ResidentMemory(ResidentMemoryOptions options);

  // ---- For the components whose state is in it.

  // False: keep the state on the ordinary heap.
  bool has_heap() const { return !regions_.empty() && !rehearsal_; }
  size_t shards() const { return regions_.size(); }
  ResidentHeap& heap(size_t shard = 0) { return regions_[shard].heap(); }
  const ResidentHeap& heap(size_t shard = 0) const { return regions_[shard].heap(); }
  // True when what is in the heaps is the old program's state; from Rehydrate on.
  bool arrived() const { return arrived_; }
  // Whether the successor that `context` exports to gets the memory. Always false in a snapshot,
  // whose reader cannot use what is in it.
  bool Crosses(const ExportContext& context) const {
    return !context.snapshot() && WouldCross(context);
  }
  // Whether the rehearsal that was last was for a successor that would get it: for what components
  // do ahead of the blackout (Precopy), which is in vain then. False when nothing was rehearsed.
  bool MayCross() const { return may_cross_; }

  // ---- Component.
  std::string_view name() const override { return options_.name; }
  absl::Status Initialize() override;
  absl::Status Quiesce() override;
  absl::Status Export(ExportContext& context) const override;
  void Resume() override;
  absl::Status Rehydrate(ImportContext& context) override;
  void Committed() override;

 private:
  bool WouldCross(const ExportContext& context) const {
    return !regions_.empty() && context.SuccessorReads(options_.name, options_.layout);
  }
  void NotePath(ExportContext& context) const;

  ResidentMemoryOptions options_;
  std::vector<ResidentRegion> regions_;  // by shard
  ResidentNonce nonce_ = {};             // of the crossing under way
  bool arrived_ = false;
  bool rehearsal_ = false;
  mutable bool may_cross_ = false;  // Export is const: it changes nothing that crosses
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_RESIDENT_MEMORY_H_
