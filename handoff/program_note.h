// The manifest note: what a program says of itself in its ELF file, readable without running it.
//
//   LIVEEXEC_APPLICATION("demo-server", "1.0.0");  // once per program: name, version
//   LIVEEXEC_COMPONENT("keyspace", 2, 1);          // once each: writes schema 2, reads 1 to 2
//   LIVEEXEC_DROPS_COMPONENT("statistics");        // accepts, and ignores, this one's state
//   LIVEEXEC_SECURITY_EPOCH(3);                    // hands over to no lower epoch
//   LIVEEXEC_RESIDENT_LAYOUT("memory", kLayout);   // reads resident memory of that layout
//
// Each expands to one ELF note of owner "liveexec" in the allocated section .note.liveexec, at
// namespace scope of any source file that is linked into the program: of a static library only
// those files are which define something that the program uses, so a component's note belongs
// beside its functions. Names and versions are checked by the compiler; numbers are decimal
// literals, but a layout is a constant that the compiler computes. A note's description is text:
// fields separated by '\t', the first of which names the kind. The format is in docs/protocol.md.
#ifndef LIVEEXEC_HANDOFF_PROGRAM_NOTE_H_
#define LIVEEXEC_HANDOFF_PROGRAM_NOTE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

// Changes when programs of two framework releases cannot hand over to one another. A macro because
// the assembler sees it.
#define LIVEEXEC_FRAMEWORK_ABI 1

namespace liveexec {

inline constexpr uint32_t kFrameworkAbi = LIVEEXEC_FRAMEWORK_ABI;

// Names of applications and components: 1 to 64 of [a-z0-9_-].
constexpr bool IsNoteName(std::string_view text) {
  if (text.empty() || text.size() > 64) return false;
  for (char c : text) {
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-')) return false;
  }
  return true;
}

// Versions: 1 to 64 of [A-Za-z0-9._+~-].
constexpr bool IsNoteVersion(std::string_view text) {
  if (text.empty() || text.size() > 64) return false;
  for (char c : text) {
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
          c == '_' || c == '+' || c == '~' || c == '-')) {
      return false;
    }
  }
  return true;
}

struct ComponentSchema {
  std::string name;
  uint32_t writes = 0;        // the schema version that Export writes
  uint32_t reads_oldest = 0;  // Rehydrate reads reads_oldest to writes
};

// Resident memory that the program can go on with: see core/resident_region.h, ResidentLayout.
struct ResidentLayoutNote {
  std::string component;
  uint64_t fingerprint = 0;
};

// The notes of one program.
struct ProgramNote {
  std::string application;
  std::string version;
  uint32_t framework_abi = 0;
  uint64_t security_epoch = 0;
  std::vector<ComponentSchema> components;
  std::vector<std::string> dropped_components;
  std::vector<ResidentLayoutNote> resident_layouts;
  std::string build_id;  // of the GNU build-id note, lower-case hexadecimal; may be empty

  const ComponentSchema* FindComponent(std::string_view name) const;
  bool HasResidentLayouts(std::string_view component) const;
  bool ReadsResidentLayout(std::string_view component, uint64_t fingerprint) const;
};

// Adds one note's description to `note`. InvalidArgument for malformed text: nothing is assumed of
// it. A kind that this release does not know is skipped: what is incompatible changes
// kFrameworkAbi.
absl::Status ParseNote(std::string_view description, ProgramNote& note);

// Adds the notes of one PT_NOTE segment: those of owner "liveexec", and the GNU build id; others
// are skipped. `alignment` is the segment's p_align. InvalidArgument for malformed or too many
// notes.
absl::Status ParseNoteSegment(absl::Span<const char> segment, uint64_t alignment,
                              ProgramNote& note);

// The notes of the running program, found through its program headers. FailedPrecondition when
// there is no LIVEEXEC_APPLICATION.
absl::StatusOr<ProgramNote> OwnProgramNote();

}  // namespace liveexec

#define LIVEEXEC_STRINGIFY_INNER_(x) #x
#define LIVEEXEC_STRINGIFY_(x) LIVEEXEC_STRINGIFY_INNER_(x)

// One note. `text` is a sequence of string literals for the assembler. GNU ld and lld keep SHT_NOTE
// sections under --gc-sections. Numeric labels may be defined many times in one file.
#define LIVEEXEC_NOTE_(text) asm(LIVEEXEC_NOTE_TEXT_(text))
#define LIVEEXEC_NOTE_TEXT_(text)             \
  ".pushsection .note.liveexec,\"a\",@note\n" \
  ".balign 4\n"                               \
  ".long 9\n"                                 \
  ".long 992f-991f\n"                         \
  ".long 1\n"                                 \
  ".asciz \"liveexec\"\n"                     \
  ".balign 4\n"                               \
  "991: .ascii \"" text                       \
  "\"\n"                                      \
  "992: .balign 4\n"                          \
  ".popsection"

#define LIVEEXEC_CHECK_NAME_(name) \
  static_assert(::liveexec::IsNoteName(name), "a liveexec name is 1 to 64 of [a-z0-9_-]")

#define LIVEEXEC_APPLICATION(name, version)                           \
  LIVEEXEC_CHECK_NAME_(name);                                         \
  static_assert(::liveexec::IsNoteVersion(version),                   \
                "a liveexec version is 1 to 64 of [A-Za-z0-9._+~-]"); \
  LIVEEXEC_NOTE_("application\\t" name "\\t" version                  \
                 "\\t" LIVEEXEC_STRINGIFY_(LIVEEXEC_FRAMEWORK_ABI))
#define LIVEEXEC_COMPONENT(name, writes, reads_oldest)                           \
  LIVEEXEC_CHECK_NAME_(name);                                                    \
  static_assert((reads_oldest) <= (writes), "a component reads what it writes"); \
  LIVEEXEC_NOTE_("component\\t" name                                             \
                 "\\t" LIVEEXEC_STRINGIFY_(writes) "\\t" LIVEEXEC_STRINGIFY_(reads_oldest))
#define LIVEEXEC_DROPS_COMPONENT(name) \
  LIVEEXEC_CHECK_NAME_(name);          \
  LIVEEXEC_NOTE_("drops\\t" name)
// `fingerprint`: a constant expression below 2^62, written as two numbers below 2^31, which is what
// the compilers print without an adornment. In a function that nobody calls, because only there the
// assembler gets values that the compiler has computed.
#define LIVEEXEC_RESIDENT_LAYOUT(component, fingerprint)                     \
  LIVEEXEC_CHECK_NAME_(component);                                           \
  static_assert((fingerprint) > 0 && (fingerprint) < (uint64_t{1} << 62));   \
  [[gnu::used]] static void LIVEEXEC_NOTE_NAME_(__LINE__)() {                \
    constexpr uint64_t value = (fingerprint);                                \
    constexpr int high = static_cast<int>(value >> 31);                      \
    constexpr int low = static_cast<int>(value & 0x7fffffff);                \
    asm volatile(LIVEEXEC_NOTE_TEXT_("resident\\t" component "\\t%c0\\t%c1") \
                 :                                                           \
                 : "i"(high), "i"(low));                                     \
  }                                                                          \
  static_assert(true)
#define LIVEEXEC_NOTE_NAME_INNER_(line) LiveexecResidentLayout##line
#define LIVEEXEC_NOTE_NAME_(line) LIVEEXEC_NOTE_NAME_INNER_(line)
#define LIVEEXEC_SECURITY_EPOCH(epoch) LIVEEXEC_NOTE_("epoch\\t" LIVEEXEC_STRINGIFY_(epoch))

#endif  // LIVEEXEC_HANDOFF_PROGRAM_NOTE_H_
