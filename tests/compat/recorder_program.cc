#include "tests/compat/recorder_program.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <vector>

#include "absl/strings/str_cat.h"

namespace liveexec::compat {

namespace {

constexpr char kOwner[] = "liveexec";                  // and its NUL
constexpr size_t kHeader = 3 * sizeof(uint32_t) + 12;  // sizes and type; the owner, padded
constexpr size_t kLongestFiller = 960;                 // a description's limit is 1,024

size_t Padded(size_t size) { return (size + 3) & ~size_t{3}; }

void AppendNote(const std::string& description, std::string& bytes) {
  const uint32_t numbers[] = {sizeof kOwner, static_cast<uint32_t>(description.size()), 1};
  bytes.append(reinterpret_cast<const char*>(numbers), sizeof numbers);
  bytes.append(kOwner, sizeof kOwner);
  bytes.append(Padded(sizeof kOwner) - sizeof kOwner, '\0');
  bytes.append(description);
  bytes.append(Padded(description.size()) - description.size(), '\0');
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace

absl::StatusOr<std::string> NoteBytes(const ProgramNote& note, size_t size) {
  std::string bytes;
  AppendNote(
      absl::StrCat("application\t", note.application, "\t", note.version, "\t", note.framework_abi),
      bytes);
  for (const ComponentSchema& component : note.components)
    AppendNote(absl::StrCat("component\t", component.name, "\t", component.writes, "\t",
                            component.reads_oldest),
               bytes);
  for (const std::string& name : note.dropped_components)
    AppendNote(absl::StrCat("drops\t", name), bytes);
  if (note.security_epoch > 0) AppendNote(absl::StrCat("epoch\t", note.security_epoch), bytes);
  const std::string filler = "filler\t";
  while (bytes.size() < size) {
    const size_t left = size - bytes.size();
    // Never so much that a rest is left which no note fits into.
    const size_t whole = left > 2 * kLongestFiller ? kHeader + kLongestFiller : left;
    if (whole < kHeader + filler.size()) break;
    if (whole > kHeader + kLongestFiller) {
      AppendNote(filler + std::string(kLongestFiller / 2 - filler.size(), '.'), bytes);
      continue;
    }
    AppendNote(filler + std::string(whole - kHeader - filler.size(), '.'), bytes);
  }
  if (bytes.size() != size)
    return absl::ResourceExhaustedError("the program's notes are too many for the recorder");
  return bytes;
}

absl::Status WriteRecorder(const std::string& recorder, const ProgramNote& note,
                           const std::string& path) {
  std::string program = ReadFile(recorder);
  const size_t mark = program.find(kRecorderNoteMark);
  if (mark == std::string::npos || mark < kHeader || program.size() - mark < kRecorderNoteSize) {
    return absl::FailedPreconditionError(absl::StrCat(recorder, " is not the recorder"));
  }
  const size_t size = kHeader + kRecorderNoteSize;
  absl::StatusOr<std::string> notes = NoteBytes(note, size);
  if (!notes.ok()) return notes.status();
  program.replace(mark - kHeader, size, *notes);
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << program;
  file.close();
  if (!file || chmod(path.c_str(), 0700) != 0)
    return absl::UnavailableError(absl::StrCat("cannot write ", path));
  return absl::OkStatus();
}

}  // namespace liveexec::compat
