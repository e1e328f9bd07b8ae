#include "handoff/elf_file.h"

#include <elf.h>
#include <link.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/error_code.h"

namespace liveexec {
namespace {

constexpr int kMaxSegments = 256;  // real programs have about 13

#if defined(__x86_64__)
constexpr uint16_t kOurMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr uint16_t kOurMachine = EM_AARCH64;
#elif defined(__riscv)
constexpr uint16_t kOurMachine = EM_RISCV;
#elif defined(__powerpc64__)
constexpr uint16_t kOurMachine = EM_PPC64;
#elif defined(__s390x__)
constexpr uint16_t kOurMachine = EM_S390;
#else
#error "say here which e_machine this architecture has"
#endif
constexpr unsigned char kOurClass = sizeof(void*) == 8 ? ELFCLASS64 : ELFCLASS32;
constexpr unsigned char kOurData =
    __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB;

absl::Status BadElf(std::string_view what) {
  return CodedError("E_ELF", absl::StatusCode::kFailedPrecondition,
                    absl::StrCat("the file ", std::string(what), ": copy or build it again"));
}

absl::Status NotExecutable(std::string_view what) {
  return CodedError("E_NOEXEC", absl::StatusCode::kFailedPrecondition,
                    absl::StrCat("the file is ", std::string(what),
                                 ": give the path of a program built for this machine"));
}

// Reads up to `size` bytes of the file's beginning; the number read.
absl::StatusOr<size_t> ReadStart(int fd, void* buffer, size_t size) {
  size_t done = 0;
  while (done < size) {
    ssize_t count = pread(fd, static_cast<char*>(buffer) + done, size - done, done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return WithCode(ErrnoError(errno, "cannot read the file"), "E_ACCES");
    if (count == 0) break;
    done += static_cast<size_t>(count);
  }
  return done;
}

// Everything about the header that libelf, or the kernel, would take on trust.
absl::Status CheckHeader(const ElfW(Ehdr) & header, uint64_t file_size) {
  if (header.e_ident[EI_CLASS] != kOurClass) {
    return NotExecutable(
        absl::StrCat("for another word size than our ", 8 * sizeof(void*), " bits"));
  }
  if (header.e_ident[EI_DATA] != kOurData || header.e_machine != kOurMachine) {
    return NotExecutable(absl::StrCat("for another architecture (ELF machine ", header.e_machine,
                                      ", ours is ", kOurMachine, ")"));
  }
  if (header.e_type != ET_EXEC && header.e_type != ET_DYN) {
    return NotExecutable("an object or core file");
  }
  if (header.e_phentsize != sizeof(ElfW(Phdr)) || header.e_phnum == 0 ||
      header.e_phnum > kMaxSegments) {
    return BadElf("has a malformed program header table");
  }
  // Sections are not needed to run it, but they stand at the end: a copy cut short anywhere shows
  // here. More than 65,279 sections (e_shnum 0, the number elsewhere) no program has; libelf would
  // believe any.
  if (header.e_shoff != 0) {
    if (header.e_shnum == 0 || header.e_shentsize != sizeof(ElfW(Shdr))) {
      return BadElf("has a malformed section header table");
    }
    const uint64_t table = uint64_t{header.e_shnum} * sizeof(ElfW(Shdr));
    if (header.e_shoff > file_size || table > file_size - header.e_shoff) {
      return BadElf(absl::StrCat("is cut short: it has ", file_size, " bytes, not the ",
                                 header.e_shoff, " and more that its header says"));
    }
  } else if (header.e_shnum != 0) {
    return BadElf("has a malformed section header table");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<GElf_Phdr>> ReadSegments(Elf* elf, uint64_t file_size) {
  size_t count = 0;
  if (elf_getphdrnum(elf, &count) != 0 || count > kMaxSegments) {
    return BadElf("has an unreadable program header table");
  }
  std::vector<GElf_Phdr> segments;
  bool loads = false;
  for (size_t i = 0; i < count; ++i) {
    GElf_Phdr segment;
    if (gelf_getphdr(elf, static_cast<int>(i), &segment) == nullptr) {
      return BadElf("has an unreadable program header table");
    }
    if (segment.p_offset > file_size || segment.p_filesz > file_size - segment.p_offset) {
      // The kernel would map it all the same, and the program die of SIGBUS.
      return BadElf(
          absl::StrCat("is cut short: its segment ", i, " goes beyond its ", file_size, " bytes"));
    }
    loads = loads || segment.p_type == PT_LOAD;
    segments.push_back(segment);
  }
  if (!loads) return BadElf("has nothing to load");
  return segments;
}

}  // namespace

absl::StatusOr<ElfFile> ElfFile::Open(int fd) {
  struct stat file;
  if (fstat(fd, &file) != 0) return WithCode(ErrnoError(errno, "fstat"), "E_ACCES");
  const uint64_t file_size = file.st_size < 0 ? 0 : static_cast<uint64_t>(file.st_size);
  ElfW(Ehdr) header = {};
  LIVEEXEC_ASSIGN_OR_RETURN(const size_t size, ReadStart(fd, &header, sizeof(header)));
  if (size == 0) return BadElf("is empty");
  if (size >= 2 && std::memcmp(&header, "#!", 2) == 0) {
    return CodedError("E_SCRIPT", absl::StatusCode::kFailedPrecondition,
                      "the file is a script, which cannot be exec'd by file descriptor: give the "
                      "path of the program that the script starts");
  }
  if (size < SELFMAG || std::memcmp(&header, ELFMAG, SELFMAG) != 0) return BadElf("is not ELF");
  if (size < sizeof(header)) return BadElf("is cut short: it ends within the ELF header");
  LIVEEXEC_RETURN_IF_ERROR(CheckHeader(header, file_size));

  elf_version(EV_CURRENT);
  std::unique_ptr<Elf, End> elf(elf_begin(fd, ELF_C_READ, nullptr));
  if (!elf || elf_kind(elf.get()) != ELF_K_ELF) return BadElf("cannot be read as ELF");
  LIVEEXEC_ASSIGN_OR_RETURN(auto segments, ReadSegments(elf.get(), file_size));
  return ElfFile(elf.release(), header.e_type, std::move(segments));
}

absl::StatusOr<absl::Span<const char>> ElfFile::Bytes(const GElf_Phdr& segment,
                                                      uint64_t limit) const {
  if (segment.p_filesz == 0) return absl::Span<const char>();
  if (segment.p_filesz > limit) {
    return BadElf(absl::StrCat("has a note, interpreter or dynamic segment of ", segment.p_filesz,
                               " bytes, more than the ", limit, " that are sensible"));
  }
  Elf_Data* data = elf_getdata_rawchunk(elf_.get(), static_cast<int64_t>(segment.p_offset),
                                        segment.p_filesz, ELF_T_BYTE);
  if (data == nullptr || data->d_buf == nullptr || data->d_size != segment.p_filesz) {
    return BadElf("cannot be read whole");
  }
  return absl::Span<const char>(static_cast<const char*>(data->d_buf), data->d_size);
}

}  // namespace liveexec
