#include "handoff/program_note.h"

#include <elf.h>
#include <link.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/error.h"

namespace liveexec {
namespace {

constexpr size_t kMaxComponents = 256;
constexpr size_t kMaxNotesPerSegment = 4096;
constexpr size_t kMaxBuildId = 64;  // bytes; SHA-1 has 20
constexpr std::string_view kOwner("liveexec\0", 9);
constexpr std::string_view kGnuOwner("GNU\0", 4);
constexpr uint32_t kTextNote = 1;  // our note type: fields separated by tabs

absl::Status Malformed(std::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("malformed liveexec note: ", std::string(what)));
}

// Decimal digits only: SimpleAtoi alone would take signs and spaces.
template <typename Number>
bool ParseNumber(absl::string_view text, Number& number) {
  return !text.empty() && std::all_of(text.begin(), text.end(), absl::ascii_isdigit) &&
         absl::SimpleAtoi(text, &number);
}

std::string_view Std(absl::string_view text) { return {text.data(), text.size()}; }

using Fields = std::vector<absl::string_view>;

absl::Status ParseApplication(const Fields& fields, ProgramNote& note) {
  if (fields.size() < 4 || !IsNoteName(Std(fields[1])) || !IsNoteVersion(Std(fields[2])) ||
      !ParseNumber(fields[3], note.framework_abi)) {
    return Malformed("application needs a name, a version and a framework ABI");
  }
  if (!note.application.empty()) return Malformed("application is there twice");
  note.application = std::string(fields[1]);
  note.version = std::string(fields[2]);
  return absl::OkStatus();
}

absl::Status ParseComponent(const Fields& fields, ProgramNote& note) {
  ComponentSchema schema;
  if (fields.size() < 4 || !IsNoteName(Std(fields[1])) || !ParseNumber(fields[2], schema.writes) ||
      !ParseNumber(fields[3], schema.reads_oldest) || schema.reads_oldest > schema.writes) {
    return Malformed("component needs a name, the schema it writes and the oldest that it reads");
  }
  schema.name = std::string(fields[1]);
  if (note.FindComponent(schema.name) != nullptr) {
    return Malformed(absl::StrCat("component ", schema.name, " is there twice"));
  }
  if (note.components.size() >= kMaxComponents) return Malformed("more than 256 components");
  note.components.push_back(std::move(schema));
  return absl::OkStatus();
}

absl::Status ParseDrops(const Fields& fields, ProgramNote& note) {
  if (fields.size() < 2 || !IsNoteName(Std(fields[1]))) {
    return Malformed("drops needs a component's name");
  }
  if (note.dropped_components.size() >= kMaxComponents) {
    return Malformed("more than 256 dropped components");
  }
  note.dropped_components.emplace_back(fields[1]);
  return absl::OkStatus();
}

absl::Status ParseEpoch(const Fields& fields, ProgramNote& note) {
  uint64_t epoch = 0;
  if (fields.size() < 2 || !ParseNumber(fields[1], epoch)) {
    return Malformed("epoch needs a number");
  }
  // Several libraries of a program may each demand one: the highest holds.
  note.security_epoch = std::max(note.security_epoch, epoch);
  return absl::OkStatus();
}

absl::Status ParseResident(const Fields& fields, ProgramNote& note) {
  ResidentLayoutNote layout;
  uint64_t high = 0;
  uint64_t low = 0;
  constexpr uint64_t kLimit = uint64_t{1} << 31;
  if (fields.size() < 4 || !IsNoteName(Std(fields[1])) || !ParseNumber(fields[2], high) ||
      !ParseNumber(fields[3], low) || high >= kLimit || low >= kLimit) {
    return Malformed("resident needs a component's name and the halves of a fingerprint");
  }
  layout.fingerprint = high << 31 | low;
  if (note.resident_layouts.size() >= kMaxComponents) {
    return Malformed("more than 256 resident layouts");
  }
  layout.component = std::string(fields[1]);
  note.resident_layouts.push_back(std::move(layout));
  return absl::OkStatus();
}

void AddBuildId(std::string_view description, ProgramNote& note) {
  if (description.empty() || description.size() > kMaxBuildId || !note.build_id.empty()) return;
  constexpr char kDigits[] = "0123456789abcdef";
  for (char c : description) {
    unsigned char byte = static_cast<unsigned char>(c);
    note.build_id += kDigits[byte >> 4];
    note.build_id += kDigits[byte & 15];
  }
}

// Cuts `size` bytes off the front of `rest`, and the padding that brings `offset`, counted from the
// note's start, to a multiple of `alignment`. The last note's padding may be missing.
bool TakePadded(std::string_view& rest, size_t& offset, uint32_t size, size_t alignment,
                std::string_view& taken) {
  if (size > rest.size()) return false;
  taken = rest.substr(0, size);
  offset += size;
  const size_t padding = (alignment - offset % alignment) % alignment;
  offset += padding;
  rest.remove_prefix(std::min(size + padding, rest.size()));
  return true;
}

struct OwnNotes {
  ProgramNote note;
  absl::Status status;
};

// dl_iterate_phdr's callback: the first object is the main program, so it stops after that.
int VisitMainProgram(dl_phdr_info* info, size_t, void* data) {
  OwnNotes& own = *static_cast<OwnNotes*>(data);
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& header = info->dlpi_phdr[i];
    if (header.p_type != PT_NOTE) continue;
    const char* begin = reinterpret_cast<const char*>(info->dlpi_addr + header.p_vaddr);
    own.status = ParseNoteSegment({begin, header.p_filesz}, header.p_align, own.note);
    if (!own.status.ok()) break;
  }
  return 1;
}

}  // namespace

const ComponentSchema* ProgramNote::FindComponent(std::string_view name) const {
  for (const ComponentSchema& component : components) {
    if (component.name == name) return &component;
  }
  return nullptr;
}

bool ProgramNote::HasResidentLayouts(std::string_view component) const {
  return std::any_of(
      resident_layouts.begin(), resident_layouts.end(),
      [&](const ResidentLayoutNote& layout) { return layout.component == component; });
}

bool ProgramNote::ReadsResidentLayout(std::string_view component, uint64_t fingerprint) const {
  return std::any_of(resident_layouts.begin(), resident_layouts.end(),
                     [&](const ResidentLayoutNote& layout) {
                       return layout.component == component && layout.fingerprint == fingerprint;
                     });
}

absl::Status ParseNote(std::string_view description, ProgramNote& note) {
  constexpr size_t kMaxDescription = 1024;
  if (description.size() > kMaxDescription) return Malformed("longer than 1024 bytes");
  // Fields that a later release may add at the end are not looked at.
  const Fields fields =
      absl::StrSplit(absl::string_view(description.data(), description.size()), '\t');
  if (fields[0] == "application") return ParseApplication(fields, note);
  if (fields[0] == "component") return ParseComponent(fields, note);
  if (fields[0] == "drops") return ParseDrops(fields, note);
  if (fields[0] == "epoch") return ParseEpoch(fields, note);
  if (fields[0] == "resident") return ParseResident(fields, note);
  return absl::OkStatus();
}

absl::Status ParseNoteSegment(absl::Span<const char> segment, uint64_t alignment,
                              ProgramNote& note) {
  // As binutils have it: descriptions and notes begin at multiples of 4, in segments aligned to 8
  // of 8.
  const size_t step = alignment == 8 ? 8 : 4;
  std::string_view rest(segment.data(), segment.size());
  size_t count = 0;
  while (rest.size() >= sizeof(Elf64_Nhdr)) {
    if (++count > kMaxNotesPerSegment) return Malformed("more than 4096 notes");
    Elf64_Nhdr header;  // the same in 32-bit files
    std::memcpy(&header, rest.data(), sizeof(header));
    rest.remove_prefix(sizeof(header));
    size_t offset = sizeof(header);
    std::string_view owner, description;
    if (!TakePadded(rest, offset, header.n_namesz, step, owner) ||
        !TakePadded(rest, offset, header.n_descsz, step, description)) {
      return Malformed("a note is longer than its segment");
    }
    if (owner == kOwner && header.n_type == kTextNote) {
      LIVEEXEC_RETURN_IF_ERROR(ParseNote(description, note));
    } else if (owner == kGnuOwner && header.n_type == NT_GNU_BUILD_ID) {
      AddBuildId(description, note);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<ProgramNote> OwnProgramNote() {
  OwnNotes own;
  dl_iterate_phdr(&VisitMainProgram, &own);
  LIVEEXEC_RETURN_IF_ERROR(own.status);
  if (own.note.application.empty()) {
    return absl::FailedPreconditionError(
        "this program has no LIVEEXEC_APPLICATION note; write it once, beside main()");
  }
  return std::move(own.note);
}

}  // namespace liveexec
