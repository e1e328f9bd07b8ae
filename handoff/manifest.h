// The manifest: what the old program tells the new one about everything that crosses. Sealed like
// any image.
#ifndef LIVEEXEC_HANDOFF_MANIFEST_H_
#define LIVEEXEC_HANDOFF_MANIFEST_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/process_traits.h"
#include "handoff/fd_table.h"
#include "handoff/file_locks.h"
#include "handoff/image_file.h"
#include "handoff/journal.h"
#include "handoff/manifest.capnp.h"

namespace liveexec {

struct ComponentRecord {
  std::string name;
  uint32_t schema_version = 0;
  bool has_image = false;
  uint64_t length = 0;
  uint64_t checksum = 0;
};

struct Manifest {
  uint32_t framework_abi = 0;
  std::string application;
  std::string version;      // of the program that wrote it
  uint64_t generation = 0;  // of the program that wrote it
  uint64_t upgrades_attempted = 0;
  std::string upgrade_binary;
  int64_t process_started_unix_ns = 0;
  int64_t blackout_start_ns = 0;  // CLOCK_MONOTONIC
  std::vector<ComponentRecord> components;
  std::vector<FdEntry> fds;
  std::vector<FileLock> locks;  // on `fds`
  ProcessTraits traits;
  JournalEntry current;  // the upgrade under way
  std::vector<JournalEntry> history;
};

void WriteManifest(const Manifest& manifest, image::Manifest::Builder builder);

// DataLoss, with the code E_MANIFEST, when it is not what WriteManifest writes. Unknown fields are
// ignored.
absl::StatusOr<Manifest> ReadManifest(capnp::MessageReader& message);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_MANIFEST_H_
