#include "handoff/program_file.h"

#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/unique_fd.h"
#include "handoff/elf_file.h"
#include "handoff/error_code.h"
#include "handoff/file_permissions.h"

namespace liveexec {
namespace {

constexpr uint64_t kMaxNoteBytes = 1 << 20;  // all PT_NOTE segments together
constexpr uint64_t kMaxDynamicBytes = 1 << 20;
constexpr absl::StatusCode kRefused = absl::StatusCode::kFailedPrecondition;

// The name by which the kernel finds the very file behind an O_PATH fd.
std::string ProcPath(int fd) { return absl::StrCat("/proc/self/fd/", fd); }

absl::StatusOr<std::string> ReadInterpreter(const ElfFile& elf) {
  for (const GElf_Phdr& segment : elf.segments()) {
    if (segment.p_type != PT_INTERP) continue;
    LIVEEXEC_ASSIGN_OR_RETURN(auto bytes, elf.Bytes(segment, PATH_MAX));
    if (bytes.size() < 2 || bytes.back() != '\0') {
      return CodedError("E_INTERP", kRefused,
                        "the program's interpreter is malformed: build it again");
    }
    std::string path(bytes.data(), strnlen(bytes.data(), bytes.size()));
    if (access(path.c_str(), X_OK) != 0) {
      return CodedError(
          "E_INTERP", kRefused,
          absl::StrCat("the program's dynamic loader ", path, " cannot be used (", strerror(errno),
                       "): install it, or link the program for this system"));
    }
    return path;
  }
  return std::string();
}

// A shared object without an interpreter is a program only if the linker says so: a static PIE.
absl::StatusOr<bool> IsStaticPie(const ElfFile& elf) {
  for (const GElf_Phdr& segment : elf.segments()) {
    if (segment.p_type != PT_DYNAMIC) continue;
    LIVEEXEC_ASSIGN_OR_RETURN(auto bytes, elf.Bytes(segment, kMaxDynamicBytes));
    while (bytes.size() >= sizeof(ElfW(Dyn))) {
      ElfW(Dyn) entry;
      std::memcpy(&entry, bytes.data(), sizeof(entry));
      if (entry.d_tag == DT_NULL) break;
      if (entry.d_tag == DT_FLAGS_1) return (entry.d_un.d_val & DF_1_PIE) != 0;
      bytes.remove_prefix(sizeof(entry));
    }
  }
  return false;
}

absl::StatusOr<ElfFacts> ReadFacts(const ElfFile& elf) {
  ElfFacts facts;
  facts.position_independent = elf.position_independent();
  LIVEEXEC_ASSIGN_OR_RETURN(facts.interpreter, ReadInterpreter(elf));
  if (facts.interpreter.empty() && facts.position_independent) {
    LIVEEXEC_ASSIGN_OR_RETURN(const bool program, IsStaticPie(elf));
    if (!program) {
      return CodedError("E_NOEXEC", kRefused,
                        "the file is a shared library: give the path of a program");
    }
  }
  return facts;
}

absl::StatusOr<ProgramNote> ReadNote(const ElfFile& elf) {
  ProgramNote note;
  uint64_t budget = kMaxNoteBytes;
  for (const GElf_Phdr& segment : elf.segments()) {
    if (segment.p_type != PT_NOTE) continue;
    LIVEEXEC_ASSIGN_OR_RETURN(auto bytes, elf.Bytes(segment, budget));
    budget -= bytes.size();
    if (absl::Status status = ParseNoteSegment(bytes, segment.p_align, note); !status.ok()) {
      return CodedError("E_APP", kRefused,
                        absl::StrCat("the program's notes cannot be understood (", status.message(),
                                     "): build it again with this release's headers"));
    }
  }
  if (note.application.empty()) {
    return CodedError("E_APP", kRefused,
                      "the program has no LIVEEXEC_APPLICATION note, so it cannot take over: give "
                      "the path of a program built with liveexec");
  }
  return note;
}

absl::Status CheckExecutable(const PinnedImage& image) {
  // Also finds a noexec mount. EACCES for root as well, if no x bit is set.
  if (faccessat(image.fd(), "", X_OK, AT_EMPTY_PATH | AT_EACCESS) == 0) return absl::OkStatus();
  return CodedError("E_ACCES", kRefused,
                    absl::StrCat(image.path(), " cannot be executed (", strerror(errno),
                                 "): chmod +x it, and mind noexec mounts"));
}

absl::Status CheckPrivileges(const PinnedImage& image, mode_t mode) {
  if ((mode & (S_ISUID | S_ISGID)) != 0) {
    return CodedError("E_PRIV", kRefused,
                      absl::StrCat(image.path(),
                                   " is set-user-id or set-group-id, so exec would change who the "
                                   "server is: chmod ug-s it"));
  }
  // Not on the O_PATH fd, which has no attributes.
  ssize_t size =
      getxattr(ProcPath(image.fd()).c_str(), "security.capability", /*value=*/nullptr, /*size=*/0);
  if (size >= 0) {
    return CodedError("E_PRIV", kRefused,
                      absl::StrCat(image.path(),
                                   " has file capabilities, so exec would change what the server "
                                   "may do: setcap -r it"));
  }
  if (errno == ENODATA || errno == ENOTSUP) return absl::OkStatus();
  return WithCode(ErrnoError(errno, "cannot tell whether " + image.path() + " has capabilities"),
                  "E_PRIV");
}

// The pinned file's own path now, free of symbolic links: what the links of the given path led to.
absl::StatusOr<std::string> RealPath(const PinnedImage& image) {
  char path[PATH_MAX];
  ssize_t size = readlink(ProcPath(image.fd()).c_str(), path, sizeof(path));
  if (size <= 0 || size == static_cast<ssize_t>(sizeof(path)) || path[0] != '/') {
    return CodedError("E_UNSAFE", kRefused,
                      absl::StrCat("cannot tell where ", image.path(),
                                   " is: give a path that is reachable from here"));
  }
  return std::string(path, static_cast<size_t>(size));
}

absl::Status DescribeOpenFailure(const absl::Status& status, const std::string& path) {
  const int error = ErrnoOf(status).value_or(0);
  if (error == ENOENT || error == ENOTDIR) {
    return CodedError("E_NOENT", absl::StatusCode::kNotFound,
                      absl::StrCat(path, " is not there: check the path"));
  }
  return WithCode(status, "E_ACCES");
}

}  // namespace

absl::StatusOr<ProgramFile> ReadProgramFile(int fd) {
  LIVEEXEC_ASSIGN_OR_RETURN(const ElfFile elf, ElfFile::Open(fd));
  ProgramFile program;
  LIVEEXEC_ASSIGN_OR_RETURN(program.elf, ReadFacts(elf));
  LIVEEXEC_ASSIGN_OR_RETURN(program.note, ReadNote(elf));
  return program;
}

absl::StatusOr<ProgramNote> ReadProgramNote(int fd) {
  LIVEEXEC_ASSIGN_OR_RETURN(ProgramFile program, ReadProgramFile(fd));
  return std::move(program.note);
}

absl::StatusOr<PinnedImage> PinProgram(Syscalls& syscalls, const std::string& path) {
  if (path.empty()) {
    return CodedError("E_NOENT", absl::StatusCode::kInvalidArgument,
                      "no program to upgrade to: give the path of one");
  }
  absl::StatusOr<PinnedImage> image = PinnedImage::Open(syscalls, path);
  if (!image.ok()) return DescribeOpenFailure(image.status(), path);
  return image;
}

absl::Status CheckPermissions(const PinnedImage& image) {
  struct stat file;
  if (fstat(image.fd(), &file) != 0) {
    return WithCode(ErrnoError(errno, "fstat " + image.path()), "E_ACCES");
  }
  if (!S_ISREG(file.st_mode)) {
    return CodedError("E_ACCES", kRefused,
                      absl::StrCat(image.path(), " is not a regular file: give a program's path"));
  }
  if (file.st_nlink == 0) {
    return CodedError("E_NOENT", absl::StatusCode::kNotFound,
                      absl::StrCat(image.path(), " was removed meanwhile: try again"));
  }
  LIVEEXEC_RETURN_IF_ERROR(CheckExecutable(image));
  LIVEEXEC_RETURN_IF_ERROR(CheckPrivileges(image, file.st_mode));
  LIVEEXEC_ASSIGN_OR_RETURN(const std::string real_path, RealPath(image));
  return CheckOwnership(file, real_path);
}

absl::StatusOr<ProgramFile> ReadPinned(Syscalls& syscalls, const PinnedImage& image) {
  // Checked before it is opened for reading: opening a FIFO or a device has effects.
  struct stat pinned;
  if (fstat(image.fd(), &pinned) != 0 || !S_ISREG(pinned.st_mode)) {
    return CodedError("E_ACCES", kRefused,
                      absl::StrCat(image.path(), " is not a regular file: give a program's path"));
  }
  const int fd = syscalls.Open(ProcPath(image.fd()).c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY);
  if (fd < 0) {
    return WithCode(ErrnoError(-fd, "cannot read " + image.path() + " to check it"), "E_ACCES");
  }
  UniqueFd readable(fd);
  absl::StatusOr<ProgramFile> program = ReadProgramFile(readable.get());
  if (!program.ok()) return Annotate(program.status(), image.path());
  return program;
}

absl::StatusOr<PinnedProgram> CheckFile(Syscalls& syscalls, const std::string& path) {
  LIVEEXEC_ASSIGN_OR_RETURN(PinnedImage image, PinProgram(syscalls, path));
  LIVEEXEC_RETURN_IF_ERROR(CheckPermissions(image));
  LIVEEXEC_ASSIGN_OR_RETURN(ProgramFile program, ReadPinned(syscalls, image));
  return PinnedProgram{std::move(image), std::move(program.elf), std::move(program.note)};
}

namespace {

// A file that loses a name, to another that is renamed over it or to rm, gets another ctime.
bool HasOnlyLostNames(const FileIdentity& now, const FileIdentity& then) {
  FileIdentity named = now;
  named.links = then.links;
  named.ctime_ns = then.ctime_ns;
  return named == then && now.links < then.links;
}

}  // namespace

absl::Status Unchanged(Syscalls& syscalls, const PinnedImage& image) {
  absl::StatusOr<FileIdentity> now = IdentityOf(syscalls, image.fd());
  if (!now.ok()) return WithCode(now.status(), "E_CHANGED");
  if (*now == image.identity() || HasOnlyLostNames(*now, image.identity())) {
    return absl::OkStatus();
  }
  return CodedError("E_CHANGED", kRefused,
                    absl::StrCat(image.path(),
                                 " was changed while it was being checked: replace programs by "
                                 "rename, never in place, and try again"));
}

}  // namespace liveexec
