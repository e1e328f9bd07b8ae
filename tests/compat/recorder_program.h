// Makes a copy of the recorder (recorder_main.cc) that says of itself what another program says.
#ifndef LIVEEXEC_TESTS_COMPAT_RECORDER_PROGRAM_H_
#define LIVEEXEC_TESTS_COMPAT_RECORDER_PROGRAM_H_

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "handoff/program_note.h"

namespace liveexec::compat {

// Where the recorder's notes go: the description of one long note in its ELF file, which begins
// with this and is kRecorderNoteSize bytes long.
inline constexpr char kRecorderNoteMark[] = "filler\tLIVEEXEC-RECORDER-NOTES";
inline constexpr size_t kRecorderNoteSize = 49152;
// In the recorder's directory; complete when the recorder has ended.
inline constexpr char kRecordedDirectory[] = "images";
inline constexpr char kManifestFile[] = "manifest.image";  // the last one that it writes

// The bytes of the notes that say `note`, filled up to `size` with notes that say nothing.
// ResourceExhausted when they do not fit.
absl::StatusOr<std::string> NoteBytes(const ProgramNote& note, size_t size);

// Copies `recorder` to `path`, executable, with the notes of `note`.
absl::Status WriteRecorder(const std::string& recorder, const ProgramNote& note,
                           const std::string& path);

}  // namespace liveexec::compat

#endif  // LIVEEXEC_TESTS_COMPAT_RECORDER_PROGRAM_H_
