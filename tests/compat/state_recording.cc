#include "tests/compat/state_recording.h"

#include <fcntl.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/fd_channel.h"
#include "core/pinned_image.h"
#include "core/sealed_memfd.h"
#include "core/syscalls.h"
#include "core/unique_fd.h"
#include "handoff/candidate_process.h"
#include "handoff/control_client.h"
#include "handoff/flight_recorder.h"
#include "handoff/guarded_call.h"
#include "handoff/image_file.h"
#include "handoff/manifest.h"
#include "handoff/program_file.h"
#include "handoff/rehearsal_verdict.h"
#include "tests/compat/recorder_program.h"
#include "tests/harness/temp_dir.h"

namespace liveexec::compat {

namespace {

namespace fs = std::filesystem;

std::string ImageName(const std::string& directory, const std::string& component) {
  return absl::StrCat(directory, "/", component, ".image");
}

// A sealed memfd with a file's bytes.
absl::StatusOr<UniqueFd> Load(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat("no such file: ", path));
  const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  LIVEEXEC_ASSIGN_OR_RETURN(MemfdWriter writer,
                            MemfdWriter::Create(Syscalls::Kernel(), "liveexec-recorded"));
  LIVEEXEC_RETURN_IF_ERROR(
      writer.Append({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}));
  return std::move(writer).Seal();
}

struct Recording {
  Manifest manifest;
  ImageStamp stamp;
  UniqueFd manifest_fd;
  std::vector<UniqueFd> images;  // of the components that have one, in order
};

absl::StatusOr<Recording> LoadRecording(const std::string& directory) {
  Recording recording;
  LIVEEXEC_ASSIGN_OR_RETURN(recording.manifest_fd,
                            Load(absl::StrCat(directory, "/", kManifestFile)));
  LIVEEXEC_ASSIGN_OR_RETURN(
      ImageFile image,
      ImageFile::Open(Syscalls::Kernel(), recording.manifest_fd.get(), /*expected=*/nullptr));
  recording.stamp = image.stamp();
  LIVEEXEC_RETURN_IF_ERROR(GuardedCall("the recorded manifest", [&]() -> absl::Status {
    LIVEEXEC_ASSIGN_OR_RETURN(recording.manifest, ReadManifest(image.message()));
    return absl::OkStatus();
  }));
  for (const ComponentRecord& component : recording.manifest.components) {
    if (!component.has_image) continue;
    LIVEEXEC_ASSIGN_OR_RETURN(UniqueFd fd, Load(ImageName(directory, component.name)));
    recording.images.push_back(std::move(fd));
  }
  return recording;
}

// As the exporter fills it: docs/protocol.md.
absl::StatusOr<FdChannelEnds> FillChannel(const Recording& recording, int recorder, int program) {
  Syscalls& syscalls = Syscalls::Kernel();
  LIVEEXEC_ASSIGN_OR_RETURN(FdChannelEnds channel, CreateFdChannel(syscalls));
  LIVEEXEC_RETURN_IF_ERROR(SendFdBatch(syscalls, channel.sender.get(),
                                       {recording.manifest_fd.get(), recorder, program}));
  std::vector<int> fds;
  for (const UniqueFd& image : recording.images) fds.push_back(image.get());
  for (size_t sent = 0; sent < fds.size(); sent += kFdsPerBatch) {
    const size_t count = std::min(kFdsPerBatch, fds.size() - sent);
    LIVEEXEC_RETURN_IF_ERROR(SendFdBatch(syscalls, channel.sender.get(), {&fds[sent], count}));
  }
  return channel;
}

absl::StatusOr<ProgramNote> NoteOfProcess(uint32_t pid) {
  const std::string path = absl::StrCat("/proc/", pid, "/exe");
  const UniqueFd program(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!program) return ErrnoError(errno, path);
  return ReadProgramNote(program.get());
}

}  // namespace

absl::StatusOr<std::vector<std::string>> RecordState(const std::string& control,
                                                     const std::string& recorder,
                                                     const std::string& directory) {
  LIVEEXEC_ASSIGN_OR_RETURN(ControlClient client, ControlClient::Connect(control));
  LIVEEXEC_ASSIGN_OR_RETURN(const ControlStatus status, client.Status());
  LIVEEXEC_ASSIGN_OR_RETURN(const ProgramNote note, NoteOfProcess(status.pid));
  const harness::TempDir work;
  LIVEEXEC_RETURN_IF_ERROR(WriteRecorder(recorder, note, work.File("recorder")));
  LIVEEXEC_ASSIGN_OR_RETURN(
      const JournalEntry entry,
      client.Upgrade({.binary = work.File("recorder")}, kRehearsalPatience, {}));
  const std::string images = work.File(kRecordedDirectory);
  if (!fs::exists(absl::StrCat(images, "/", kManifestFile)))
    return absl::AbortedError(absl::StrCat(entry.code, ": ", entry.message));
  std::vector<std::string> components;
  std::error_code error;
  fs::create_directories(directory, error);
  for (const auto& file : fs::directory_iterator(images, error)) {
    fs::copy_file(file.path(), directory / file.path().filename(),
                  fs::copy_options::overwrite_existing, error);
    if (error) break;
    if (file.path().filename() != kManifestFile) components.push_back(file.path().stem());
  }
  if (error) return absl::UnavailableError(absl::StrCat(directory, ": ", error.message()));
  std::sort(components.begin(), components.end());
  return components;
}

absl::Status ReadRecordedState(const std::string& directory, const std::string& binary) {
  Syscalls& syscalls = Syscalls::Kernel();
  LIVEEXEC_ASSIGN_OR_RETURN(const Recording recording, LoadRecording(directory));
  LIVEEXEC_ASSIGN_OR_RETURN(const PinnedImage program, PinnedImage::Open(syscalls, binary));
  LIVEEXEC_ASSIGN_OR_RETURN(FlightRecorder recorder, FlightRecorder::Create(syscalls));
  LIVEEXEC_ASSIGN_OR_RETURN(const FdChannelEnds channel,
                            FillChannel(recording, recorder.fd(), program.fd()));
  LIVEEXEC_ASSIGN_OR_RETURN(
      CandidateProcess process,
      CandidateProcess::Spawn({.program = program.fd(),
                               .channel = channel.receiver.get(),
                               .inheritance = {.mode = StartMode::kRehearsal,
                                               .channel = 0,
                                               .nonce = recording.stamp.nonce},
                               .arguments = recording.manifest.traits.arguments,
                               .environment = recording.manifest.traits.environment}));
  LIVEEXEC_ASSIGN_OR_RETURN(const int status,
                            process.Wait(kRehearsalPatience, [] { return false; }));
  return RehearsalVerdict(status, recorder, process.output());
}

}  // namespace liveexec::compat
