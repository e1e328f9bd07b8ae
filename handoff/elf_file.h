// ElfFile: libelf's view of a program, made safe for files that are not to be trusted.
//
// The header is checked by hand before libelf sees the file, so that its own work and memory are
// bounded, and it reads rather than maps: a file that is cut short meanwhile would raise SIGBUS in
// a mapping. Move-only; borrows the fd that it was opened on.
#ifndef LIVEEXEC_HANDOFF_ELF_FILE_H_
#define LIVEEXEC_HANDOFF_ELF_FILE_H_

#include <gelf.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace liveexec {

class ElfFile {
 public:
  // `fd` is readable and outlives this object. E_SCRIPT, E_ELF, E_NOEXEC as for ReadProgramFile().
  static absl::StatusOr<ElfFile> Open(int fd);

  bool position_independent() const { return type_ == ET_DYN; }
  const std::vector<GElf_Phdr>& segments() const { return segments_; }

  // The bytes of a segment in the file, at most `limit`: E_ELF when it is longer. Valid while this
  // lives.
  absl::StatusOr<absl::Span<const char>> Bytes(const GElf_Phdr& segment, uint64_t limit) const;

 private:
  struct End {
    void operator()(Elf* elf) const { elf_end(elf); }
  };
  ElfFile(Elf* elf, uint16_t type, std::vector<GElf_Phdr> segments)
      : elf_(elf), type_(type), segments_(std::move(segments)) {}

  std::unique_ptr<Elf, End> elf_;
  uint16_t type_;
  std::vector<GElf_Phdr> segments_;
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_ELF_FILE_H_
