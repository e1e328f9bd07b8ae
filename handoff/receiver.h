// The receiver: from the channel to rehydrated components. Knows nothing of the exporter.
//
// It only peeks. Whatever fails here, the channel stays as full as the old program left it.
#ifndef LIVEEXEC_HANDOFF_RECEIVER_H_
#define LIVEEXEC_HANDOFF_RECEIVER_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/syscalls.h"
#include "core/unique_fd.h"
#include "handoff/component.h"
#include "handoff/fd_table.h"
#include "handoff/flight_recorder.h"
#include "handoff/image_file.h"
#include "handoff/inheritance.h"
#include "handoff/manifest.h"
#include "handoff/program_note.h"

namespace liveexec {

// What stood in the channel, counted and compared with the manifest's fd table.
struct Received {
  Manifest manifest;
  ImageStamp stamp;
  FlightRecorder recorder;
  UniqueFd old_program;             // O_PATH
  std::vector<UniqueFd> image_fds;  // of components with an image, in order
  std::vector<size_t> entries;      // which of manifest.fds came: all, or those lent to a rehearsal
  std::vector<UniqueFd> fds;        // as entries
};

// The same with every image verified and mapped.
struct Verified {
  Manifest manifest;
  FlightRecorder recorder;
  UniqueFd old_program;
  std::vector<std::string> dropped;  // components whose state this program declares to drop
  std::map<std::string, ImageFile, std::less<>> images;  // by component
  std::vector<UniqueFd> fds;
};

class Receiver {
 public:
  Receiver(Syscalls& syscalls, const Inheritance& inheritance)
      : syscalls_(syscalls), inheritance_(inheritance) {}

  // The flight recorder alone, so that there is somewhere to note what goes wrong in Receive.
  absl::StatusOr<FlightRecorder> AdoptRecorder();

  // E_CHANNEL: batches are missing. E_FDS: the fd table is too small. E_FDTABLE: an fd is not the
  // one in the table. E_MANIFEST, E_SEAL, E_CHECKSUM: the manifest is damaged.
  absl::StatusOr<Received> Receive();

  // E_APP, E_ABI: not meant for this program. E_SCHEMA: a component's state is in a schema that
  // this program does not read, or has no component here. E_SEAL, E_IMAGE, E_CHECKSUM, E_STAMP.
  absl::StatusOr<Verified> Verify(Received received, const ProgramNote& note);

 private:
  absl::StatusOr<std::vector<UniqueFd>> PeekAll(size_t first_batch, size_t count);
  absl::Status CheckFds(const Received& received);

  Syscalls& syscalls_;
  const Inheritance& inheritance_;
};

// First sees that nobody's state is lost because a component that the note lists was not
// registered: E_SCHEMA. Then calls Rehydrate, or Initialize where the old program had no such
// component, on each; E_REHYDRATE, or E_EXCEPTION when it threw. `recorder` is told of each
// component before.
absl::Status RehydrateAll(absl::Span<Component* const> components, Verified& verified,
                          FdSource& fds, bool rehearsal);
// Calls SelfCheck on each; E_SELFCHECK, or E_EXCEPTION when it threw.
absl::Status SelfCheckAll(absl::Span<Component* const> components, FlightRecorder& recorder);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_RECEIVER_H_
