// The candidate's file, as bytes that nobody vouches for. The first byte says whether the rest is a
// whole ELF file, or one segment of notes with an alignment.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <set>

#include "core/unique_fd.h"
#include "handoff/error_code.h"
#include "handoff/program_file.h"
#include "handoff/program_note.h"
#include "tests/fuzz/fuzzing.h"

namespace liveexec::fuzz {
namespace {

// What every reader of a note may rely on.
void CheckNote(const ProgramNote& note) {
  FUZZ_CHECK(note.application.empty() || IsNoteName(note.application));
  FUZZ_CHECK(note.application.empty() == note.version.empty());
  FUZZ_CHECK(note.version.empty() || IsNoteVersion(note.version));
  FUZZ_CHECK(note.components.size() <= 256 && note.dropped_components.size() <= 256);
  FUZZ_CHECK(note.build_id.size() <= 128);
  std::set<std::string> names;
  for (const ComponentSchema& component : note.components) {
    FUZZ_CHECK(IsNoteName(component.name));
    FUZZ_CHECK(component.reads_oldest <= component.writes);
    FUZZ_CHECK(names.insert(component.name).second);
    FUZZ_CHECK(note.FindComponent(component.name)->writes == component.writes);
  }
  for (const std::string& dropped : note.dropped_components) FUZZ_CHECK(IsNoteName(dropped));
}

void CheckFileBytes(std::string_view bytes) {
  const NoFdIsLeaked closed;
  const UniqueFd fd(memfd_create("elf", MFD_CLOEXEC));
  FUZZ_CHECK(write(fd.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  const auto program = ReadProgramFile(fd.get());
  if (!program.ok()) {
    FUZZ_CHECK(!CodeOf(program.status()).empty());
    return;
  }
  FUZZ_CHECK(!program->note.application.empty());
  CheckNote(program->note);
}

}  // namespace
}  // namespace liveexec::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  liveexec::fuzz::Input input(data, size);
  const uint8_t alignment = input.Byte();
  const std::string_view bytes = input.Rest();
  if (alignment == 0) {
    liveexec::fuzz::CheckFileBytes(bytes);
    return 0;
  }
  liveexec::ProgramNote note;
  if (liveexec::ParseNoteSegment({bytes.data(), bytes.size()}, alignment, note).ok()) {
    liveexec::fuzz::CheckNote(note);
  }
  return 0;
}
