// The recorder: what RecordState (state_recording.h) has a server rehearse. It copies the images
// that it is shown into a directory beside itself, and refuses.
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/fd_channel.h"
#include "core/sealed_memfd.h"
#include "core/syscalls.h"
#include "handoff/inheritance.h"
#include "handoff/receiver.h"
#include "handoff/rollback.h"
#include "tests/compat/recorder_program.h"

// kRecorderNoteMark and dots, kRecorderNoteSize bytes in all.
asm(".pushsection .note.liveexec,\"a\",@note\n"
    ".balign 4\n"
    ".long 9\n"
    ".long 49152\n"
    ".long 1\n"
    ".asciz \"liveexec\"\n"
    ".balign 4\n"
    ".ascii \"filler\\tLIVEEXEC-RECORDER-NOTES\"\n"
    ".fill 49152 - 30, 1, 0x2e\n"
    ".popsection");

namespace liveexec::compat {
namespace {

absl::Status Copy(Syscalls& syscalls, int fd, const std::string& path) {
  LIVEEXEC_ASSIGN_OR_RETURN(const SealedMapping mapping, SealedMapping::Open(syscalls, fd));
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(mapping.bytes().data()),
             static_cast<std::streamsize>(mapping.bytes().size()));
  file.close();
  return file ? absl::OkStatus() : absl::UnavailableError(absl::StrCat("cannot write ", path));
}

absl::StatusOr<size_t> Record(const Inheritance& inheritance) {
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::string directory = (program.parent_path() / kRecordedDirectory).string();
  if (mkdir(directory.c_str(), 0700) != 0) return ErrnoError(errno, directory);
  Syscalls& syscalls = Syscalls::Kernel();
  LIVEEXEC_ASSIGN_OR_RETURN(const auto first, PeekFdBatch(syscalls, inheritance.channel, 0));
  LIVEEXEC_ASSIGN_OR_RETURN(Received received, Receiver(syscalls, inheritance).Receive());
  size_t image = 0;
  for (const ComponentRecord& component : received.manifest.components) {
    if (!component.has_image) continue;
    LIVEEXEC_RETURN_IF_ERROR(Copy(syscalls, received.image_fds.at(image++).get(),
                                  absl::StrCat(directory, "/", component.name, ".image")));
  }
  LIVEEXEC_RETURN_IF_ERROR(
      Copy(syscalls, first.at(kManifestFd).get(), absl::StrCat(directory, "/", kManifestFile)));
  return image;
}

}  // namespace
}  // namespace liveexec::compat

int main() {
  const liveexec::Inheritance& inheritance = liveexec::ProcessInheritance();
  if (inheritance.mode != liveexec::StartMode::kRehearsal) {
    std::fprintf(stderr, "the recorder is started by the server that it records\n");
    return 2;
  }
  const auto images = liveexec::compat::Record(inheritance);
  if (images.ok()) {
    std::printf("the recorder has copied %zu images, and refuses\n", *images);
  } else {
    std::printf("the recorder failed: %s\n", images.status().ToString().c_str());
  }
  return 1;
}
