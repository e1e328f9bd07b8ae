// A candidate, looked at without running it: may this file be exec'd by us, and what does it say of
// itself?
//
//   Syscalls& kernel = Syscalls::Kernel();
//   LIVEEXEC_ASSIGN_OR_RETURN(PinnedProgram program, CheckFile(kernel, "/srv/bin/echo"));
//   ... Compare(own_note, program.note) ...; rehearse program.image.fd() ...
//   LIVEEXEC_RETURN_IF_ERROR(Unchanged(kernel, program));   // right before exec
//
// Nothing here trusts the file: every size, count and offset is checked against the file and
// against a limit, so that the work is bounded whatever the bytes are. Stateless; any thread. Every
// error is coded (handoff/error_code.h) and its sentence tells the operator what to do.
#ifndef LIVEEXEC_HANDOFF_PROGRAM_FILE_H_
#define LIVEEXEC_HANDOFF_PROGRAM_FILE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/pinned_image.h"
#include "core/syscalls.h"
#include "handoff/program_note.h"

namespace liveexec {

// What the ELF file says besides its notes. Class, byte order and machine are ours, else there is
// no value.
struct ElfFacts {
  bool position_independent = false;  // ET_DYN; else ET_EXEC
  std::string interpreter;            // the dynamic loader's path; empty for a static program
};

struct ProgramFile {
  ElfFacts elf;
  ProgramNote note;
};

// Reads the ELF file behind `fd`: borrowed, readable (not O_PATH); its offset is not moved.
// E_SCRIPT: a "#!" script. E_ELF: empty, not ELF, or cut short. E_NOEXEC: for another machine, or
// not a program (a library, an object). E_INTERP: its dynamic loader is missing. E_APP: it has no
// liveexec note, or one that cannot be understood.
absl::StatusOr<ProgramFile> ReadProgramFile(int fd);

// Just the notes of the above.
absl::StatusOr<ProgramNote> ReadProgramNote(int fd);

// A candidate that stays the same file whatever happens to its name. Move-only.
struct PinnedProgram {
  PinnedImage image;  // O_PATH fd, path as given, identity
  ElfFacts elf;
  ProgramNote note;
};

// Opens `path` once, O_PATH. E_NOENT, E_ACCES.
absl::StatusOr<PinnedImage> PinProgram(Syscalls& syscalls, const std::string& path);

// May we trust and exec this file? A regular file, executable by us, owned by root or by us and
// writable by nobody else, and so are all its parent directories (sticky ones like /tmp may be
// writable); no set-id bits (exec would change who we are), no file capabilities. E_ACCES,
// E_UNSAFE, E_PRIV. What only exec itself can find is not looked for: ETXTBSY, a security module's
// refusal.
absl::Status CheckPermissions(const PinnedImage& image);

// ReadProgramFile of a pinned file, opened again for reading through /proc. E_ACCES when it is not
// readable.
absl::StatusOr<ProgramFile> ReadPinned(Syscalls& syscalls, const PinnedImage& image);

// PinProgram, CheckPermissions and ReadPinned: the Checking phase's view of the file.
absl::StatusOr<PinnedProgram> CheckFile(Syscalls& syscalls, const std::string& path);

// E_CHANGED when the file was written in place, or its metadata changed, since it was pinned. That
// it lost a name, as another file was renamed over it or it was removed, is no such change.
absl::Status Unchanged(Syscalls& syscalls, const PinnedImage& image);
inline absl::Status Unchanged(Syscalls& syscalls, const PinnedProgram& program) {
  return Unchanged(syscalls, program.image);
}

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_PROGRAM_FILE_H_
