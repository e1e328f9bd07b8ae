#include "handoff/testing/filled_channel.h"

#include <fcntl.h>
#include <stdlib.h>

#include <utility>

#include "core/error.h"
#include "handoff/exporter.h"

namespace liveexec {

const ImageStamp kTestStamp = {.generation = 3, .nonce = {7, 7, 7, 1}};

ProgramNote NoteWith(const std::vector<std::string>& components) {
  ProgramNote note;
  note.application = "test-app";
  note.version = "1.0";
  note.framework_abi = kFrameworkAbi;
  for (const std::string& name : components) {
    note.components.push_back({.name = name, .writes = 1, .reads_oldest = 1});
  }
  return note;
}

absl::StatusOr<FdChannelEnds> FillChannel(Syscalls& syscalls, const ProgramNote& note,
                                          absl::Span<Component* const> components) {
  FdInspector inspector(syscalls);
  Exporter exporter(syscalls, inspector, note);
  LIVEEXEC_ASSIGN_OR_RETURN(FdChannelEnds channel, CreateFdChannel(syscalls));
  LIVEEXEC_ASSIGN_OR_RETURN(FlightRecorder recorder, FlightRecorder::Create(syscalls));
  UniqueFd own_program(open("/proc/self/exe", O_PATH | O_CLOEXEC));
  LIVEEXEC_ASSIGN_OR_RETURN(Exported exported, exporter.Export(components));
  Manifest manifest;
  manifest.framework_abi = note.framework_abi;
  manifest.application = note.application;
  manifest.version = note.version;
  manifest.generation = kTestStamp.generation;
  LIVEEXEC_ASSIGN_OR_RETURN(Sealed sealed,
                            exporter.Seal(std::move(exported), kTestStamp, std::move(manifest)));
  LIVEEXEC_ASSIGN_OR_RETURN(Sent sent, exporter.Send(std::move(sealed), std::move(channel),
                                                     recorder.fd(), own_program.get()));
  return std::move(sent.channel);
}

Batches PeekAllBatches(const FdChannelEnds& channel) {
  Batches batches;
  while (true) {
    auto batch = PeekFdBatch(Syscalls::Kernel(), channel.receiver.get(), batches.size());
    if (!batch.ok()) return batches;
    batches.push_back(*std::move(batch));
  }
}

FdChannelEnds ChangedChannel(const FdChannelEnds& channel,
                             const std::function<void(Batches&)>& change) {
  Batches batches = PeekAllBatches(channel);
  change(batches);
  auto changed = CreateFdChannel(Syscalls::Kernel());
  if (!changed.ok()) abort();
  for (const std::vector<UniqueFd>& batch : batches) {
    std::vector<int> fds;
    for (const UniqueFd& fd : batch) fds.push_back(fd.get());
    if (!SendFdBatch(Syscalls::Kernel(), changed->sender.get(), fds).ok()) abort();
  }
  return *std::move(changed);
}

Inheritance InheritanceOf(const FdChannelEnds& channel, StartMode mode) {
  return {.mode = mode, .channel = channel.receiver.get(), .nonce = kTestStamp.nonce};
}

}  // namespace liveexec
