#include "handoff/testing/misbehaviour.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <stdexcept>
#include <thread>

#include "core/unique_fd.h"
#include "handoff/error_code.h"
#include "handoff/inheritance.h"

namespace liveexec {
namespace {

// Written so that neither a compiler nor a sanitizer sees it coming.
#if defined(__clang__)
#define LIVEEXEC_UNSANITIZED \
  __attribute__((noinline, no_sanitize("address", "undefined", "thread")))
#else
#define LIVEEXEC_UNSANITIZED \
  __attribute__((noinline, no_sanitize_address, no_sanitize_undefined, no_sanitize_thread))
#endif

volatile int* volatile nowhere = nullptr;
volatile int zero = 0;

LIVEEXEC_UNSANITIZED void WriteToNull() { *nowhere = 1; }
LIVEEXEC_UNSANITIZED void DivideByZero() { zero = 1000 / zero; }
LIVEEXEC_UNSANITIZED void RunAnInvalidInstruction() { __builtin_trap(); }

LIVEEXEC_UNSANITIZED int OverflowTheStack(int depth) {
  volatile char frame[4096];
  frame[0] = static_cast<char>(depth);
  if (depth < 0) return 0;  // Never: but no compiler knows.
  int deeper = OverflowTheStack(depth + 1);
  return deeper + frame[0];
}

// Reads a mapping behind the end of its file.
LIVEEXEC_UNSANITIZED void ReadPastTheEnd() {
  UniqueFd fd(memfd_create("empty", MFD_CLOEXEC));
  auto* page = static_cast<volatile char*>(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd.get(), 0));
  zero = page[0];
}

[[noreturn]] void NeverReturn() {
  while (true) zero = 0;
}

// As setproctitle() does it, and more thoroughly: over all arguments.
void WriteOverArguments() {
  for (char* at = program_invocation_name; at < environ[0]; ++at) {
    if (*at != 0) *at = 'x';
  }
}

void Throw(const char* text) { throw std::runtime_error(text); }
void TerminateByAnException() noexcept { Throw("nobody catches this"); }

absl::Status Do(std::string_view what) {
  if (what == "null") WriteToNull();
  if (what == "abort") abort();
  if (what == "throw") Throw("thrown on purpose");
  if (what == "int") throw 7;
  if (what == "terminate") TerminateByAnException();
  if (what == "stack") zero = OverflowTheStack(0);
  if (what == "hang") NeverReturn();
  if (what == "exit0") exit(0);
  if (what == "exit7") exit(7);
  if (what == "quick") quick_exit(0);
  if (what == "fpe") DivideByZero();
  if (what == "ill") RunAnInvalidInstruction();
  if (what == "bus") ReadPastTheEnd();
  if (what == "error") return absl::DataLossError("returned on purpose");
  if (what == "coded") return CodedError("E_TEST", absl::StatusCode::kInternal, "coded");
  if (what == "title") {
    WriteOverArguments();
    return absl::DataLossError("after its title was set");
  }
  if (what == "thread") std::thread(WriteToNull).join();
  return absl::OkStatus();
}

}  // namespace

std::string Fault() {
  if (ProcessInheritance().mode != StartMode::kUpgrade) return "";
  UniqueFd program(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  char trailer[kFaultSize] = {};
  off_t size = lseek(program.get(), 0, SEEK_END);
  if (pread(program.get(), trailer, kFaultSize, size - static_cast<off_t>(kFaultSize)) !=
      static_cast<ssize_t>(kFaultSize)) {
    return "";
  }
  std::string_view text(trailer, kFaultSize);
  if (!text.starts_with(kFaultMark)) return "";
  text.remove_prefix(kFaultMark.size());
  return std::string(text.substr(0, text.find('\0')));
}

absl::Status Misbehave(std::string_view place) {
  std::string fault = Fault();
  size_t colon = fault.find(':');
  if (colon == std::string::npos || fault.substr(0, colon) != place) return absl::OkStatus();
  return Do(std::string_view(fault).substr(colon + 1));
}

}  // namespace liveexec
