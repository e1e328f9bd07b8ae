// Journal entries as Cap'n Proto: for the manifest, which carries the journal on, and for the
// control socket.
#ifndef LIVEEXEC_HANDOFF_JOURNAL_IMAGE_H_
#define LIVEEXEC_HANDOFF_JOURNAL_IMAGE_H_

#include "absl/status/statusor.h"
#include "handoff/journal.capnp.h"
#include "handoff/journal.h"

namespace liveexec {

// Texts are cut at 4 KiB, phases and fds_left_behind at 64 elements, so that an entry stays small.
void ToImage(const JournalEntry& entry, JournalEntryImage::Builder image);
void ToImage(const Journal& journal, JournalImage::Builder image);

// InvalidArgument for an outcome that does not exist. Malformed pointers raise kj::Exception, as
// every read of a Cap'n Proto message does: call it where those are caught.
absl::StatusOr<JournalEntry> FromImage(JournalEntryImage::Reader image);
// At most Journal::kMaxEntries, the newest.
absl::StatusOr<Journal> FromImage(JournalImage::Reader image);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_JOURNAL_IMAGE_H_
