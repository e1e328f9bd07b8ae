// The exporter: from quiesced components to a channel that holds everything. Knows nothing of the
// receiver; the two agree on docs/protocol.md.
//
// Each step takes the value that the step before it made, so the order cannot be changed by
// accident. No step changes anything that the old program needs to go on: dropping any of these
// values is all it takes to abandon the upgrade.
#ifndef LIVEEXEC_HANDOFF_EXPORTER_H_
#define LIVEEXEC_HANDOFF_EXPORTER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/fd_channel.h"
#include "core/syscalls.h"
#include "core/unique_fd.h"
#include "handoff/component.h"
#include "handoff/fd_table.h"
#include "handoff/file_locks.h"
#include "handoff/flight_recorder.h"
#include "handoff/image_file.h"
#include "handoff/manifest.h"
#include "handoff/program_note.h"

namespace liveexec {

// What the components wrote: still in this process's memory.
struct Exported {
  struct Part {
    std::string name;
    uint32_t schema_version = 0;
    std::unique_ptr<ExportContext> context;
  };
  std::vector<Part> parts;
  std::vector<FdEntry> entries;
  std::vector<int> fds;            // as entries; borrowed from the components
  std::vector<FileLock> locks;     // on them; none in a snapshot for a rehearsal
  std::vector<UniqueFd> lent;      // for a rehearsal: of those entries that are lent, in order
  std::vector<std::string> notes;  // for the journal
};

// What is in sealed memfds now.
struct Sealed {
  std::vector<WrittenImage> images;  // of those components that wrote one, in order
  WrittenImage manifest;
  std::vector<int> fds;        // borrowed
  std::vector<UniqueFd> lent;  // see Exported
  uint64_t state_bytes = 0;
};

// What stands in the channel. The components still have everything as well.
struct Sent {
  FdChannelEnds channel;
  // Still open: to close them before exec does would take time between the last fd that is sent and
  // the moment from which the custodian may start from the channel.
  Sealed sealed;
  size_t batches = 0;
};

class Exporter {
 public:
  // All borrowed. `note` is this program's own.
  Exporter(Syscalls& syscalls, FdInspector& inspector, const ProgramNote& note)
      : syscalls_(syscalls), inspector_(inspector), note_(note) {}

  // Calls Export on each. E_EXPORT: one failed; E_EXCEPTION: one threw. E_FD: an fd cannot be
  // carried or lent, or two have the same role and number. E_LOCK: a file has too many POSIX locks;
  // E_MEMORY: they cannot be listed. With a `slice_end_ns` (CLOCK_MONOTONIC) it is a snapshot for a
  // rehearsal, which may leave records out.
  absl::StatusOr<Exported> Export(absl::Span<Component* const> components,
                                  const Successor& successor = {}, int64_t slice_end_ns = 0);

  // Writes and seals the images, completes `manifest` (components, fds, sizes in its `current`) and
  // seals it; then reads everything back. E_MEMORY; E_SEAL, E_IMAGE or E_CHECKSUM when what can be
  // read is not what was written.
  absl::StatusOr<Sealed> Seal(Exported exported, const ImageStamp& stamp, Manifest manifest);

  // Fills `channel`: the bootstrap batch, then images and fds, 252 to a batch. E_FDPUSH.
  absl::StatusOr<Sent> Send(Sealed sealed, FdChannelEnds channel, int recorder, int own_program);

 private:
  absl::Status ExportOne(Component& component, const Successor& successor, int64_t slice_end_ns,
                         Exported& exported);
  absl::Status ReadBack(const Sealed& sealed, const ImageStamp& stamp);
  absl::Status AddLocks(const std::string& name, size_t first, Exported& exported);
  absl::Status AddFds(const std::string& name, const ExportContext& context,
                      const Successor& successor, Exported& exported);
  absl::Status Lend(const FdEntry& entry, int fd, Exported& exported);

  Syscalls& syscalls_;
  FdInspector& inspector_;
  const ProgramNote& note_;
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_EXPORTER_H_
