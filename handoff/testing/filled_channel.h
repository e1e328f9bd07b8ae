// FilledChannel: what an old program leaves in the channel, made in the test's own process, and
// channels that are like it but for one thing.
#ifndef LIVEEXEC_HANDOFF_TESTING_FILLED_CHANNEL_H_
#define LIVEEXEC_HANDOFF_TESTING_FILLED_CHANNEL_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/fd_channel.h"
#include "core/syscalls.h"
#include "handoff/component.h"
#include "handoff/flight_recorder.h"
#include "handoff/image_file.h"
#include "handoff/inheritance.h"
#include "handoff/program_note.h"

namespace liveexec {

// The stamp of every channel made here.
extern const ImageStamp kTestStamp;

// A note of the application "test-app" with these components, at schema 1.
ProgramNote NoteWith(const std::vector<std::string>& components);

// Exports, seals and sends `components` of an application with `note`.
absl::StatusOr<FdChannelEnds> FillChannel(Syscalls& syscalls, const ProgramNote& note,
                                          absl::Span<Component* const> components);

// The batches of `channel`, as a program that peeks sees them.
using Batches = std::vector<std::vector<UniqueFd>>;
Batches PeekAllBatches(const FdChannelEnds& channel);

// A channel like `channel`, after `change` was made to its batches.
FdChannelEnds ChangedChannel(const FdChannelEnds& channel,
                             const std::function<void(Batches&)>& change);

// As a program that was exec'd with `channel`.
Inheritance InheritanceOf(const FdChannelEnds& channel, StartMode mode = StartMode::kUpgrade);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_TESTING_FILLED_CHANNEL_H_
